// Conveniences on top of pages that work without them: copying, keeping drafts, the consent in a
// window of its own, keys, dialogs, and dates in the reader's own zone.
(() => {
  'use strict';
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  let typed = false;
  let waiting = null;

  // --- dates ---------------------------------------------------------------------------------
  const units = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];
  function showDates(root) {
    const language = document.documentElement.lang;
    const relative = new Intl.RelativeTimeFormat(language, { numeric: 'auto' });
    const exact = new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'medium' });
    for (const element of all('time[datetime]', root)) {
      const date = new Date(element.dateTime);
      if (Number.isNaN(date.getTime())) continue;
      const seconds = Math.round((date.getTime() - Date.now()) / 1000);
      element.title = exact.format(date);
      if (Math.abs(seconds) > 30 * 86400) {
        element.textContent = new Intl.DateTimeFormat(language, { dateStyle: 'medium' }).format(date);
        continue;
      }
      const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) || units[3];
      element.textContent = relative.format(Math.round(seconds / size), unit);
    }
  }

  // --- dialogs -------------------------------------------------------------------------------
  let returnTo = null;
  function openDialogs(root) {
    for (const dialog of all('dialog[data-modal]', root)) {
      dialog.close();
      dialog.showModal();
      dialog.addEventListener('cancel', (event) => {
        event.preventDefault();
        visit(dialog.dataset.close);
      });
    }
    if (!$('dialog[open]') && returnTo && document.getElementById(returnTo)) {
      document.getElementById(returnTo).focus();
      returnTo = null;
    }
  }
  function visit(url) {
    if (window.htmx) {
      window.htmx.ajax('GET', url, { target: 'body', swap: 'innerHTML' })
        .then(() => history.replaceState(null, '', url));
    } else {
      location.assign(url);
    }
  }

  // --- drafts --------------------------------------------------------------------------------
  let keeping = null;
  async function keep() {
    const form = $('#pane');
    if (!form || !form.dataset.draft) return true;
    typed = false;
    const sent = fetch(form.dataset.draft, {
      method: 'POST', body: new URLSearchParams(new FormData(form)), redirect: 'manual',
    });
    const settled = sent.then(() => {}, () => {}).then(() => { if (keeping === settled) keeping = null; });
    keeping = settled;
    return (await sent).ok;
  }
  document.addEventListener('input', (event) => {
    if (event.target.closest('#pane') && event.target.id !== 'propose') typed = true;
  });
  document.addEventListener('change', (event) => {
    if (event.target.closest('#pane') && event.target.id !== 'propose') keep().catch(() => { typed = true; });
  });
  // The parts of the form that belong to one grant only.
  document.addEventListener('change', (event) => {
    if (event.target.id !== 'grant') return;
    for (const part of all('[data-grant]')) part.hidden = part.dataset.grant !== event.target.value;
  });
  window.addEventListener('beforeunload', (event) => {
    if (typed) event.preventDefault();
  });
  document.addEventListener('submit', () => { typed = false; });

  // --- consent in a window of its own --------------------------------------------------------
  function reload() {
    waiting = null;
    visit(location.pathname + location.search);
  }
  async function consent(button) {
    const form = $('#pane');
    const popup = window.open('', 'tieline-consent', 'popup,width=560,height=720');
    if (!popup) return false;
    const note = $('#consent-wait');
    if (note) { note.hidden = false; note.textContent = form.dataset.waiting; }
    try {
      await keep();
    } catch {
      popup.close();
      return true;
    }
    popup.location = form.dataset.consent + '&for=' + button.dataset.popup;
    waiting = window.setInterval(() => {
      if (popup.closed) {
        window.clearInterval(waiting);
        if (waiting !== null) keep().finally(reload);
      }
    }, 400);
    return true;
  }
  if ('BroadcastChannel' in window) {
    new BroadcastChannel('tieline-consent').addEventListener('message', () => {
      if (waiting === null) return;
      window.clearInterval(waiting);
      keep().finally(reload);
    });
  }

  // --- clicks and keys -----------------------------------------------------------------------
  document.addEventListener('click', async (event) => {
    const copy = event.target.closest('[data-copy]');
    if (copy) {
      const field = document.getElementById(copy.dataset.copy);
      try {
        await navigator.clipboard.writeText(field.value);
      } catch {
        field.select();
        document.execCommand('copy');
      }
      const label = copy.textContent;
      copy.textContent = document.body.dataset.copied;
      window.setTimeout(() => { copy.textContent = label; }, 1500);
      return;
    }
    if (event.target.closest('#add')) returnTo = 'add';
    if (event.target.closest('#delete')) returnTo = 'delete';
  });
  // In the capturing phase, before htmx takes the form away.
  document.addEventListener('submit', (event) => {
    const button = event.submitter;
    // A draft that is on its way would arrive after what the button does, and undo it.
    if (keeping !== null && event.target.id === 'pane') {
      event.preventDefault();
      event.stopImmediatePropagation();
      const form = event.target;
      keeping.then(() => { if (form.isConnected) form.requestSubmit(button); });
      return;
    }
    if (!button || !button.dataset.popup || button.dataset.direct) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    consent(button).then((opened) => {
      if (opened) return;
      // The window was blocked: the same in this tab.
      button.dataset.direct = 'true';
      keep().finally(() => location.assign($('#pane').dataset.consent + '&for=' + button.dataset.popup));
    });
  }, true);
  document.addEventListener('keydown', (event) => {
    const writing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    if ((event.ctrlKey || event.metaKey) && event.key === 's' && $('#apply')) {
      event.preventDefault();
      $('#apply').click();
    } else if (event.key === '/' && !writing && $('#q')) {
      event.preventDefault();
      $('#q').focus();
    } else if (event.key === 'n' && !writing && !event.ctrlKey && !event.metaKey && !event.altKey && $('#add')) {
      event.preventDefault();
      $('#add').click();
    }
  });

  // --- after every page ----------------------------------------------------------------------
  function dress(root) {
    showDates(root);
    all('[data-copy]', root).forEach((button) => { button.hidden = false; });
    openDialogs(root);
    const first = $('[autofocus]', root) || $('[aria-invalid="true"]', root);
    if (first && !$('dialog[open]')) first.focus();
  }
  document.addEventListener('htmx:afterSettle', (event) => dress(event.detail.elt.isConnected ? event.detail.elt : document));
  dress(document);
})();
