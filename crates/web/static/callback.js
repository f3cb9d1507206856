// The page that Microsoft redirects to: tells the console that something happened, and closes the
// window where that was good. Microsoft's pages may sever the opener, so it is told by a channel.
(() => {
  'use strict';
  const ok = document.getElementById('content').dataset.ok === 'true';
  // No code or state stays in the address bar or in the history.
  history.replaceState(null, '', location.pathname);
  if ('BroadcastChannel' in window) {
    new BroadcastChannel('tieline-consent').postMessage(ok ? 'consented' : 'refused');
  }
  if (ok && window.name === 'tieline-consent') window.close();
})();
