//! A page with facts and charts, in one file: no script, no font and no image from anywhere else.

pub(crate) mod chart;

use std::fmt::Write as _;

/// A page that is being written.
pub(crate) struct Page {
    html: String,
}

/// Light and dark as the reader's system is. The colours of the series are told apart by people who see no red or green.
const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1f2430;--soft:#5c6470;--line:#d9dde3;--back:#fff;--panel:#f6f7f9;
--s0:#0072b2;--s1:#d55e00;--s2:#7a7f87;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ec;--soft:#a0a7b3;--line:#363c47;--back:#15181d;--panel:#1d2127;
--s0:#56b4e9;--s1:#e69f00;--s2:#8d949e;--bad:#ff8a80}}
body{margin:0 auto;max-width:1080px;padding:24px;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:22px;margin:0 0 4px}h2{font-size:16px;margin:0 0 8px}p{margin:0 0 16px;color:var(--soft)}
.limit{color:var(--bad)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:0 0 16px}
.facts div,figure{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:12px;margin:0}
.facts span{display:block;color:var(--soft);font-size:13px}.facts b{font-size:18px;font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(460px,1fr));gap:16px}
svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font:12px system-ui,sans-serif}
.grid{stroke:var(--line);stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.bar{fill:var(--s0)}
table{border-collapse:collapse;margin:16px 0;width:100%}
td,th{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid var(--line)}
";

impl Page {
    pub(crate) fn new(title: &str, subtitle: &str) -> Self {
        let (title, subtitle) = (escape(title), escape(subtitle));
        Self {
            html: format!(
                "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
                 <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
                 <style>{STYLE}</style>\n<h1>{title}</h1>\n<p>{subtitle}</p>\n"
            ),
        }
    }

    /// What a reader must not overlook.
    pub(crate) fn limit(&mut self, text: &str) {
        self.push(format_args!("<p class=\"limit\">{}</p>\n", escape(text)));
    }

    /// The main figures, each in a tile.
    pub(crate) fn facts(&mut self, facts: &[(&str, String)]) {
        self.push(format_args!("<div class=\"facts\">\n"));
        for (name, value) in facts {
            let (name, value) = (escape(name), escape(value));
            self.push(format_args!(
                "<div><span>{name}</span><b>{value}</b></div>\n"
            ));
        }
        self.push(format_args!("</div>\n"));
    }

    /// Charts beside one another: a title and an SVG each.
    pub(crate) fn charts(&mut self, charts: &[(&str, String)]) {
        self.push(format_args!("<div class=\"charts\">\n"));
        for (title, svg) in charts {
            self.push(format_args!(
                "<figure><h2>{}</h2>{svg}</figure>\n",
                escape(title)
            ));
        }
        self.push(format_args!("</div>\n"));
    }

    pub(crate) fn table(&mut self, head: [&str; 2], rows: &[(String, String)]) {
        let [first, second] = head.map(escape);
        self.push(format_args!(
            "<table>\n<tr><th>{first}</th><th>{second}</th></tr>\n"
        ));
        for (name, value) in rows {
            let (name, value) = (escape(name), escape(value));
            self.push(format_args!("<tr><td>{name}</td><td>{value}</td></tr>\n"));
        }
        self.push(format_args!("</table>\n"));
    }

    pub(crate) fn into_html(mut self) -> String {
        self.html.push_str("</html>\n");
        self.html
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.html.write_fmt(text);
    }
}

/// Text as it may stand in HTML and SVG: a URL is the user's, and a page is shown to others.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn nothing_of_the_users_becomes_markup() {
        let mut page = Page::new("<a>", "&");
        page.facts(&[("<b>", "\"".to_owned())]);
        page.table(["<c>", "x"], &[("<d>".to_owned(), "<e>".to_owned())]);
        let html = page.into_html();
        for text in ["<a>", "<c>", "<d>", "<e>", "<span><b>"] {
            assert!(!html.contains(text), "{text}: {html}");
        }
    }
}
