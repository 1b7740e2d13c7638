-- One image of 784 whole numbers a request, as the tutorial sends it.
local pixels = {}
for index = 1, 784 do
  pixels[index] = (index * 37) % 256
end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local list = "[" .. table.concat(pixels, ",") .. "]"
local kind = os.getenv("BODY")
if kind == "MLServer" then
  wrk.body = '{"inputs":[{"name":"flatten_input","shape":[1,784],"datatype":"FP32","data":' .. list .. "}]}"
elseif kind == "LitServe" then
  wrk.body = '{"flatten_input":' .. list .. "}"
else
  wrk.body = '{"instances":[{"flatten_input":' .. list .. "}]}"
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('{"requests": %d, "microseconds": %d, "failed": %d, "p50": %d, "p99": %d}\n',
    summary.requests, summary.duration, failed, latency:percentile(50), latency:percentile(99)))
end
