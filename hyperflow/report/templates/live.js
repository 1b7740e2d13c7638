// Ask for the page again and again, and put in what has changed, until the report of the finished run is there.
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function show(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const parts = [...page.body.children].map((part) => document.adoptNode(part));
  const pictures = parts.flatMap((part) => [...part.querySelectorAll("img")]);
  await Promise.all(pictures.map((picture) => picture.decode().catch(() => {})));  // else the page would jump
  const old = [...document.body.children];
  document.title = page.title;
  parts.forEach((part, place) => {
    if (!old[place]) document.body.append(part);
    else if (old[place].outerHTML !== part.outerHTML) old[place].replaceWith(part);
  });
  old.slice(parts.length).forEach((part) => part.remove());
}

(async () => {
  for (let seen = ""; seen !== null;) {
    try {
      const answer = await fetch("now?seen=" + encodeURIComponent(seen));
      if (!answer.ok) throw new Error(answer.statusText);
      if (answer.status === 200) {
        await show(await answer.text());
        seen = answer.headers.get("etag");  // the last answer has none
      }
      await pause(200);
    } catch {
      document.getElementById("lost").hidden = false;
      await pause(3000);
      seen = "";
    }
  }
})();
