import { type Html, html } from '../html.js';
import { layout, type View } from './layout.js';

/** For whoever has shown nothing yet, or the wrong thing. */
export function loginPage(view: View, problem: string | null): Html {
  const main = html`<div class="narrow"><h1>Log in</h1>
${problem !== null && html`<p class="message bad" role="alert">${problem}</p>`}
<p>On <b>${view.hostName}</b>, <code>umlsnap ctl dashboard</code> prints a link that logs you in. It works once, for five minutes.</p>
<form method="post" action="/login" class="stack">
<label for="token">Or the token of the daemon’s token file</label>
<input id="token" name="token" type="password" autocomplete="current-password" required>
<button class="primary">Log in</button>
</form></div>`;
  return layout(view, 'Log in', main);
}
