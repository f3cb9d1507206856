// Walks the pages of the sign-in as a person with a browser does: fills the form that is there,
// presses its button, and goes on until an application is reached or no form is left.

import { origin, user } from "./sandbox.mjs";

const mostPages = 10;

function attributes(tag) {
    const found = {};
    for (const [, name, value] of tag.matchAll(/([\w-]+)="([^"]*)"/g)) {
        found[name] = value
            .replaceAll("&#38;", "&")
            .replaceAll("&#34;", '"')
            .replaceAll("&quot;", '"')
            .replaceAll("&amp;", "&");
    }
    return found;
}

// The first form of a page.
function formOf(page) {
    const [, opening, inside] = /<form([^>]*)>(.*?)<\/form>/s.exec(page) ?? [];
    if (opening === undefined) {
        return undefined;
    }
    const form = { method: "get", action: "", ...attributes(opening), fields: {}, buttons: [] };
    for (const [, tag] of inside.matchAll(/<input([^>]*)>/g)) {
        const { name, value = "", type } = attributes(tag);
        if (name && type !== "checkbox" && type !== "submit") {
            form.fields[name] = value;
        }
    }
    for (const [, tag] of inside.matchAll(/<button([^>]*)>/g)) {
        const { name, value = "" } = attributes(tag);
        if (name) {
            form.buttons.push([name, value]);
        }
    }
    return form;
}

function filled(form, userCode) {
    const fields = { ...form.fields };
    if ("login" in fields) {
        fields.login = user.upn;
    }
    if ("passwd" in fields) {
        fields.passwd = user.password;
    }
    for (const name of ["otc", "user_code"]) {
        if (name in fields && !fields[name]) {
            fields[name] = userCode;
        }
    }
    const yes = form.buttons.find(([, value]) =>
        ["accept", "approve", "continue", "yes"].includes(value),
    );
    const [name, value] = yes ?? form.buttons[0] ?? [];
    return name ? { ...fields, [name]: value } : fields;
}

// What an application is told at its reply URL; `deliver` goes there, as the browser would.
function callback(url, posted) {
    const fields = posted ?? Object.fromEntries(new URL(url).searchParams);
    const init = posted ? { method: "POST", body: new URLSearchParams(posted) } : {};
    return { url, fields, deliver: () => fetch(url, init) };
}

// Opens an address, signs in, consents, and gives how the application is called back; undefined when
// the walk ends on a page that asks nothing more, as that of a device code does.
export async function walk(url, userCode) {
    const cookies = new Map();
    const open = async (target, init = {}) => {
        const headers = {
            Cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; "),
        };
        const answer = await fetch(target, { redirect: "manual", ...init, headers });
        for (const cookie of answer.headers.getSetCookie()) {
            const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
            cookies.set(name, value);
        }
        return {
            status: answer.status,
            location: answer.headers.get("location"),
            url: target,
            text: await answer.text(),
        };
    };
    let answer = await open(url);
    for (let page = 0; page < mostPages; page += 1) {
        if (answer.location) {
            const target = new URL(answer.location, answer.url).href;
            if (!target.startsWith(`${origin}/`)) {
                return callback(target);
            }
            answer = await open(target);
            continue;
        }
        if (answer.status !== 200) {
            throw new Error(`${answer.status}: ${answer.text}`);
        }
        const form = formOf(answer.text);
        if (!form) {
            return undefined;
        }
        const target = new URL(form.action, answer.url);
        if (target.origin !== origin) {
            // response_mode=form_post: the page posts itself to the application.
            return callback(target.href, form.fields);
        }
        const body = new URLSearchParams(filled(form, userCode));
        if (form.method.toLowerCase() === "post") {
            answer = await open(target.href, { method: "POST", body });
        } else {
            target.search = body;
            answer = await open(target.href);
        }
    }
    throw new Error(`the pages lead nowhere: ${answer.text}`);
}
