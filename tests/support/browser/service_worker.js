// Shows pushes and tells the app's backend what became of each: delivered, opened, dismissed.
//
// An example to start from. A push is JSON: `push_id` and `data` always; `tag`, and whatever of `title`, `body`,
// `image` and `link` it has, unless it is a background push.
'use strict';

const RECEIPTS = 'receipts'; // where receipts go, from where this file is
const ATTEMPTS_MAX = 3;
const WAIT_MS = 1_000; // before the second attempt; twice as long before the third

// A new version of this file takes over at once, in pages that are open already, too.
self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('push', (event) => {
  const push = event.data.json();
  // One by one, so that neither waits for the other: a push is shown where the backend can't be reached.
  event.waitUntil(show(push));
  event.waitUntil(tell(push.push_id, 'delivered'));
});

self.addEventListener('notificationclick', (event) => {
  const push = event.notification.data;
  event.notification.close();
  // First, because browsers let a click open a window only for a moment.
  event.waitUntil(self.clients.openWindow(push.link ?? self.registration.scope));
  event.waitUntil(tell(push.push_id, 'opened'));
});

// Only a person's own doing: a notification that is closed or replaced by us comes not here.
self.addEventListener('notificationclose', (event) => {
  event.waitUntil(tell(event.notification.data.push_id, 'dismissed'));
});

// A notification of the same tag is replaced, so a push that comes twice is seen once.
async function show(push) {
  if (push.tag === undefined) {
    return; // in the background: `push.data` is for the app, and not to be seen
  }
  await self.registration.showNotification(push.title ?? '', {
    body: push.body,
    image: push.image,
    tag: push.tag,
    data: push, // all that a click has to know
  });
}

// Tries a few times. To tell the same twice does no harm: the backend counts it once.
async function tell(pushId, what) {
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
    const answer = await fetch(RECEIPTS, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ push_id: pushId, what }),
    }).catch(() => null); // there is no network
    if (answer !== null && answer.status < 500) {
      return; // taken; or refused, and so it would be again
    }
    if (attempt < ATTEMPTS_MAX) {
      await new Promise((resume) => setTimeout(resume, attempt * WAIT_MS));
    }
  }
}
