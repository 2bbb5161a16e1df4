// @ts-check
/**
 * The form in front of the farm: it logs in, or makes the first user. Where it leads is the farm
 * page and nothing that an address could name.
 */

const FARM = "/";

/** @param {string} id @returns {HTMLInputElement} */
function field(id) {
  return /** @type {HTMLInputElement} */ (document.getElementById(id));
}

/** @param {string} text */
function say(text) {
  const error = document.getElementById("error");
  if (error) error.textContent = text;
}

/** What is wrong before anything is sent; empty: nothing. @returns {string} */
function mistake() {
  if (!field("name").value.trim()) return "Give the name.";
  if (!field("password").value) return "Give the password.";
  const again = field("again");
  if (again && again.value !== field("password").value) return "The two passwords differ.";
  return "";
}

/** @param {HTMLFormElement} form */
async function send(form) {
  const body = { name: field("name").value, password: field("password").value };
  const answer = await fetch(String(form.dataset.path), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (answer.ok) return "";
  if (answer.status === 401) return "Name or password is wrong.";
  const told = String((await answer.json()).error);
  return `${told.charAt(0).toUpperCase()}${told.slice(1)}.`;
}

/** @param {HTMLFormElement} form */
function listen(form) {
  const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say(mistake());
    if (mistake()) return;
    button.disabled = true;
    try {
      const wrong = await send(form);
      if (!wrong) {
        location.replace(FARM);
        return;
      }
      say(wrong);
    } catch {
      say("The coordinator does not answer. Is it running?");
    }
    button.disabled = false;
    field("password").focus();
  });
}

/** Coming by a link from elsewhere, a browser keeps the cookie back for that one page. */
async function goOnIfLoggedIn() {
  const answer = await fetch("/api/v1/me");
  if (answer.ok) location.replace(FARM);
}

const form = document.getElementById("door");
if (form instanceof HTMLFormElement) {
  listen(form);
  goOnIfLoggedIn().catch(() => say("The coordinator does not answer. Is it running?"));
}
