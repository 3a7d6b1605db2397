/* The browser of candidates. Every text becomes a text node: nothing here parses markup. */
"use strict";
(function () {
	const PLAIN = 0, ANSWER = 1, NAMED = 2; /* excerpt.h; 3 is a note of ours */
	const all = JSON.parse(document.getElementById("data").textContent);
	const byId = (id) => document.getElementById(id);
	const form = byId("filters"), search = byId("search"), list = byId("list"),
		detail = byId("detail"), shown = byId("shown");
	let items = [], current = -1;

	function element(tag, className, text) {
		const e = document.createElement(tag);
		if (className) {
			e.className = className;
		}
		if (text !== undefined) {
			e.textContent = text;
		}
		return e;
	}

	function plainOf(parts) {
		let text = "";
		for (let i = 0; i < parts.length; i += 2) {
			text += parts[i + 1];
		}
		return text;
	}

	/* Appends a text with the places that were searched for marked. */
	function appendMarked(to, text, query) {
		const lower = text.toLowerCase();
		let from = 0;
		if (query && lower.length === text.length) {
			for (let at; (at = lower.indexOf(query, from)) >= 0; from = at + query.length) {
				to.append(text.slice(from, at));
				to.append(element("mark", "hit", text.slice(at, at + query.length)));
			}
		}
		to.append(text.slice(from));
	}

	function appendParts(to, parts, query) {
		for (let i = 0; i < parts.length; i += 2) {
			const kind = parts[i];
			if (kind === PLAIN) {
				appendMarked(to, parts[i + 1], query);
				continue;
			}
			const e = element(kind === ANSWER ? "mark" : "span",
				kind === ANSWER ? "answer" : kind === NAMED ? "ctl" : "cut");
			appendMarked(e, parts[i + 1], query);
			to.append(e);
		}
	}

	function numberText(v) {
		return v === null ? "null" : String(Math.round(v * 1e4) / 1e4);
	}

	/* --- filters --- */

	function outcomeOf(c) {
		return c.outcome && c.outcome !== "chosen" ? c.state + ", " + c.outcome :
			c.outcome ? "chosen" : c.state;
	}

	/* The reasons of a candidate's own and of its scores, "math: different". */
	function reasonsOf(c) {
		const own = c.reason && c.reason !== "accept" ? [c.state + ": " + c.reason] : [];
		return own.concat(c.scores.map((s) => s.name + ": " + s.reason));
	}

	function textOf(c) {
		return [c.id, c.source, c.state, c.outcome || "", plainOf(c.text), plainOf(c.detail)]
			.concat(c.fields.map((f) => plainOf(f[1])), reasonsOf(c)).join("\n").toLowerCase();
	}

	function fill(select, values) {
		const counts = new Map();
		values.forEach((v) => counts.set(v, (counts.get(v) || 0) + 1));
		select.append(new Option("all", ""));
		Array.from(counts.keys()).sort().forEach((v) =>
			select.append(new Option(v + " (" + counts.get(v) + ")", v)));
	}

	function matches(c, query) {
		const state = byId("state").value, source = byId("source").value,
			reason = byId("reason").value;
		return (!state || c.state === state || c.outcome === state) &&
			(!source || c.source === source) &&
			(!reason || c.reasons.includes(reason)) && (!query || c.all.includes(query));
	}

	function query() {
		return search.value.trim().toLowerCase();
	}

	function filter() {
		const q = query();
		let n = 0;
		items.forEach((item) => {
			item.node.hidden = !matches(item.candidate, q);
			n += !item.node.hidden;
		});
		shown.value = n + " of " + items.length;
		if (current < 0 || items[current].node.hidden) {
			select(items.findIndex((item) => !item.node.hidden), false);
		} else {
			show();
		}
	}

	/* --- one candidate --- */

	function scoreTable(c, q) {
		const table = element("table"), head = table.createTHead().insertRow(),
			body = table.createTBody();
		["verifier", "score", "reason", "detail"].forEach((name) => {
			const th = element("th", "", name);
			th.scope = "col";
			head.append(th);
		});
		c.scores.forEach((s) => {
			const row = body.insertRow();
			row.append(element("td", "", s.name), element("td", "", numberText(s.value)),
				element("td", "", s.reason + (s.audit ? " (audited)" : "")));
			const td = element("td", "detail");
			appendParts(td, s.detail, q);
			row.append(td);
		});
		return table;
	}

	function section(title, parts, className, q) {
		const h = element("h3"), div = element("div", className);
		appendParts(h, title, "");
		appendParts(div, parts, q);
		detail.append(h, div);
	}

	function show() {
		detail.textContent = "";
		if (current < 0) {
			detail.append(element("p", "lead", "Nothing fits."));
			return;
		}
		const c = items[current].candidate, q = query();
		detail.append(element("h3", "", c.id));
		const line = element("p");
		line.append(element("span", "badge " + items[current].colour, outcomeOf(c)));
		line.append((c.reason && c.reason !== "accept" ? c.reason + ", " : "") + c.source +
			" line " + c.row + ", " + c.tokens + " tokens" +
			(c.finish ? ", finish " + c.finish : "") + ", wave " + c.wave + ", seed " + c.seed +
			", " + c.ms + " ms");
		detail.append(line);
		c.fields.forEach((f) => section([PLAIN, "prompt: "].concat(f[0]), f[1], "question", q));
		if (c.text.length) {
			section([PLAIN, "the model wrote"], c.text, "text", q);
		} else if (c.pruned) {
			detail.append(element("p", "lead", "The ledger does not have its text any more."));
		}
		if (c.detail.length) {
			section([PLAIN, "why"], c.detail, "text", q);
		}
		if (c.scores.length) {
			const box = element("div", "wide");
			box.append(scoreTable(c, q));
			detail.append(element("h3", "", "scores"), box);
		}
	}

	/* --- the list --- */

	function select(i, scroll) {
		if (current >= 0) {
			items[current].node.setAttribute("aria-selected", "false");
		}
		current = i;
		list.removeAttribute("aria-activedescendant");
		if (i >= 0) {
			items[i].node.setAttribute("aria-selected", "true");
			list.setAttribute("aria-activedescendant", items[i].node.id);
			if (scroll) {
				items[i].node.scrollIntoView({block: "nearest"});
			}
		}
		detail.scrollTop = 0;
		show();
	}

	/* The next one that is shown, `step` away from i; the last such one at an end. */
	function step(i, by) {
		for (let k = i + by; k >= 0 && k < items.length; k += by) {
			if (!items[k].node.hidden) {
				return k;
			}
		}
		return i;
	}

	function onListKey(event) {
		const next = {
			ArrowDown: () => step(current, 1),
			ArrowUp: () => step(current, -1),
			Home: () => step(-1, 1),
			End: () => step(items.length, -1),
		}[event.key];
		if (next && !event.ctrlKey && !event.metaKey && !event.altKey) {
			event.preventDefault();
			const i = next();
			if (i >= 0 && i < items.length) {
				select(i, true);
			}
		}
	}

	function onKey(event) {
		const typing = event.target.matches("input, select, textarea");
		if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
			event.preventDefault();
			search.focus();
		} else if (event.key === "Escape" && form.contains(event.target)) {
			form.reset();
		} else if (event.key === "ArrowDown" && event.target === search) {
			event.preventDefault();
			list.focus();
		}
	}

	function makeItem(c, i) {
		const node = element("li"), known = ["accepted", "rejected", "undecided", "failed"];
		const colour = known.includes(c.state) ? c.state : "pending";
		c.reasons = reasonsOf(c);
		c.all = textOf(c);
		node.id = "item" + i;
		node.className = colour;
		node.setAttribute("role", "option");
		node.setAttribute("aria-selected", "false");
		node.append(element("span", "", c.id),
			element("span", "what", outcomeOf(c) + ", " + c.tokens + " tokens"),
			element("span", "first", c.fields.length ? plainOf(c.fields[0][1]).slice(0, 120) : ""));
		node.addEventListener("click", () => select(i, false));
		return {candidate: c, node: node, colour: colour};
	}

	/* #c17.3 in the address leads to that candidate, as the examples' links do. */
	function follow() {
		const i = location.hash.startsWith("#c") ?
			items.findIndex((item) => "#c" + item.candidate.id === location.hash) : -1;
		if (i >= 0) {
			form.reset();
			select(i, true);
			byId("candidates").scrollIntoView();
			list.focus({preventScroll: true});
		}
	}

	items = all.map(makeItem);
	items.forEach((item) => list.append(item.node));
	fill(byId("state"), all.flatMap((c) => c.outcome === "chosen" ? [c.state, c.outcome] : [c.state]));
	fill(byId("source"), all.map((c) => c.source));
	fill(byId("reason"), all.flatMap((c) => c.reasons));
	byId("browser").hidden = false;
	form.addEventListener("submit", (event) => event.preventDefault());
	form.addEventListener("input", filter);
	form.addEventListener("reset", () => setTimeout(filter));
	list.addEventListener("keydown", onListKey);
	document.addEventListener("keydown", onKey);
	addEventListener("hashchange", follow);
	filter();
	follow();
})();
