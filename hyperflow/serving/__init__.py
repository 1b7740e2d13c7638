"""The predictor: a SavedModel behind KServe's V1 and V2 protocols, REST and gRPC.

server      the program: load, warm, listen, drain
http_server accepts connections (uvicorn), with limits, a handed-over socket and a graceful end
app         routes and answers; what is wrong with a request is the client's to know, as a 4xx
v1, v2      what the two protocols put into a body, and tensors
explain     what an answer rests on
rpc         V2 over gRPC
batcher     gathers what arrives together into one call of the model
tensors     what is sent in a tensor's place: checked, and cheap to refuse
runtimes    ONNX Runtime where the model's folder has a copy for it, else TensorFlow
onnx_model  the only module that knows ONNX Runtime
saved_model the only module that knows TensorFlow
folder      where in the mounted folder the model is
payloads    what is asked and answered, kept where that is wanted
provenance  what the model's card says of its origin
tracing     when what happened to a request, and the spans made of it
control     hands the listening socket to the next server
"""
