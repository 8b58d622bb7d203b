import { assetUrl } from '../assets.js';
import { timeText } from '../format.js';
import { type Html, html } from '../html.js';

/** To whom a page is shown. */
export interface View {
  now: Date;
  /** The host that the daemon runs on. */
  hostName: string;
  /** What its forms show; null: whoever looks may not press buttons. */
  formToken: string | null;
  /** By a cookie, which can be given back. */
  isLoggedIn: boolean;
  /** Since when a config was refused that the daemon was to read again; null: none was, or a good one came after it. */
  refusedSince: string | null;
}

/** Every page. @param title its own, which comes first */
export function layout(view: View, title: string, main: Html): Html {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · umlsnap on ${view.hostName}</title>
<link rel="icon" href="${assetUrl('icon.svg')}">
<link rel="stylesheet" href="${assetUrl('style.css')}">
<script src="${assetUrl('live.js')}" defer></script>
</head>
<body data-base="/">
<a class="skip" href="#main">To the content</a>
<header class="site"><a class="name" href="/">umlsnap</a> <span class="host">${view.hostName}</span>
<nav aria-label="Site">${accessLinks(view)}</nav></header>
<main id="main">
${refusal(view)}${main}
</main>
<footer>Times are ${zone}. <a href="/metrics">Metrics</a> <span id="live" role="status"></span></footer>
</body>
</html>
`;
}

function refusal({ refusedSince }: View): Html {
  if (refusedSince === null) return html``;
  return html`<p class="message bad">The config was refused at ${timeText(refusedSince)}: the one before it is in force. Look with umlsnap config check.</p>
`;
}

function accessLinks({ formToken, isLoggedIn }: View): Html {
  if (formToken === null) return html`<a href="/login">Log in</a>`;
  if (!isLoggedIn) return html``;
  return html`<form method="post" action="/logout">${tokenField(formToken)}<button class="quiet">Log out</button></form>`;
}

export const tokenField = (formToken: string): Html =>
  html`<input type="hidden" name="form" value="${formToken}">`;

/** A page that says one thing. */
export function messagePage(view: View, title: string, text: string): Html {
  return layout(
    view,
    title,
    html`<h1>${title}</h1><p class="message">${text}</p><p><a href="/">All guests</a></p>`,
  );
}
