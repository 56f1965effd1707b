//! The handbook: Markdown under `web-templates/help`, compiled in, so that it is read offline and
//! belongs to the version that runs.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::ContentDisposition},
    web,
};
use minijinja::{Value, context};
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use serde::Serialize;

use super::{
    view,
    visit::{PageContext, pairs},
};

macro_rules! files {
    ($($name:literal),+ $(,)?) => { [$(($name, include_str!(concat!("../../../../web-templates/help/", $name, ".md")))),+] };
}

/// Every page, in the order in which they are listed.
const FILES: [(&str, &str); 11] = files![
    "getting-started",
    "devices",
    "iocs",
    "silence",
    "threat-command",
    "conformance",
    "automation",
    "configuration",
    "operations",
    "replicas",
    "changes"
];

/// Which page explains which place in the product; the first that matches.
const EXPLAINS: [(&str, &str); 11] = [
    ("/settings/service-tokens", "automation#service-tokens"),
    ("/emulator", "threat-command#faults-on-demand"),
    ("/automation/policy", "iocs#which-iocs-a-group-holds"),
    ("/automation/groups", "iocs"),
    ("/automation", "devices"),
    ("/tip/sources", "iocs#what-can-be-imported"),
    ("/tip", "iocs"),
    ("/settings/guards", "iocs#exclusions"),
    ("/settings/warninglists", "iocs#warninglists"),
    ("/settings/mail", "silence"),
    ("/settings", "operations"),
];

/// Files that go with the pages.
const DOWNLOADS: [(&str, &str, &str); 2] = [
    (
        "iocast-alerts.yml",
        "application/yaml",
        include_str!("../../../../web-templates/help/iocast-alerts.yml"),
    ),
    (
        "iocast-dashboard.json",
        "application/json",
        include_str!("../../../../web-templates/help/iocast-dashboard.json"),
    ),
];

/// Found sections that are shown.
const FOUND_MAX: usize = 30;
/// Words before and behind a hit.
const AROUND: usize = 15;

#[derive(Debug, Serialize)]
struct Page {
    slug: &'static str,
    title: String,
    /// The first paragraph.
    about: String,
    html: String,
    sections: Vec<Section>,
}

/// What stands below a heading.
#[derive(Debug, Default, Serialize)]
struct Section {
    /// Empty for what stands above the first heading.
    anchor: String,
    title: String,
    text: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Found {
    pub(crate) href: String,
    pub(crate) page: &'static str,
    section: &'static str,
    excerpt: String,
}

impl Found {
    /// Its heading, or that of its page.
    pub(crate) const fn heading(&self) -> &'static str {
        if self.section.is_empty() { self.page } else { self.section }
    }
}

static PAGES: LazyLock<Vec<Page>> =
    LazyLock::new(|| FILES.iter().map(|(slug, text)| page(slug, text)).collect());

/// Where the page that explains a place in the product is.
pub(crate) fn explains(path: &str) -> String {
    let page = EXPLAINS
        .iter()
        .find(|(of, _)| path.starts_with(of))
        .map_or("getting-started", |(_, page)| page);
    format!("/help/{page}")
}

fn anchor(title: &str) -> String {
    let dashed: String = title
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    dashed.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

fn page(slug: &'static str, markdown: &str) -> Page {
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    let sections = sections(&events);
    let mut headings = sections.iter().filter(|section| !section.anchor.is_empty());
    for event in &mut events {
        if let Event::Start(Tag::Heading { level: HeadingLevel::H2, id, .. }) = event {
            *id = headings.next().map(|section| CowStr::from(section.anchor.clone()));
        }
    }
    let mut html = String::new();
    html::push_html(&mut html, events.into_iter());
    // Wide tables scroll by themselves, not the page.
    let html = html
        .replace(
            "<table>",
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table\"><table>",
        )
        .replace("</table>", "</table></div>");
    let title = sections.first().map(|section| section.title.clone()).unwrap_or_default();
    let about = sections
        .first()
        .and_then(|section| section.text.lines().next())
        .unwrap_or_default()
        .to_owned();
    Page { slug, title, about, html, sections }
}

/// The text below each heading of the first two levels.
fn sections(events: &[Event<'_>]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut in_heading = false;
    for event in events {
        match event {
            Event::Start(Tag::Heading { level: HeadingLevel::H1 | HeadingLevel::H2, .. }) => {
                in_heading = true;
                sections.push(Section::default());
            }
            Event::End(TagEnd::Heading(HeadingLevel::H1 | HeadingLevel::H2)) => {
                in_heading = false;
                let first = sections.len() == 1;
                if let Some(section) = sections.last_mut().filter(|_| !first) {
                    section.anchor = anchor(&section.title);
                }
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(section) = sections.last_mut() {
                    (if in_heading { &mut section.title } else { &mut section.text })
                        .push_str(text);
                }
            }
            Event::SoftBreak | Event::HardBreak | Event::End(TagEnd::TableCell) => {
                push(&mut sections, ' ');
            }
            Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::TableRow | TagEnd::CodeBlock) => {
                push(&mut sections, '\n');
            }
            _ => {}
        }
    }
    sections
}

fn push(sections: &mut [Section], c: char) {
    if let Some(section) = sections.last_mut() {
        section.text.push(c);
    }
}

/// Sections in which every word occurs; those whose heading has one come first.
pub(crate) fn search(query: &str) -> Vec<Found> {
    let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
    let Some(first) = words.first() else { return Vec::new() };
    let mut found = Vec::new();
    for page in PAGES.iter() {
        for section in &page.sections {
            let (title, text) = (section.title.to_lowercase(), section.text.to_lowercase());
            if words.iter().all(|word| title.contains(word) || text.contains(word)) {
                let in_title = words.iter().filter(|word| title.contains(word.as_str())).count();
                found.push((words.len() - in_title, page, section));
            }
        }
    }
    found.sort_by_key(|(rank, ..)| *rank);
    found
        .into_iter()
        .take(FOUND_MAX)
        .map(|(_, page, section)| {
            let href = if section.anchor.is_empty() {
                format!("/help/{}", page.slug)
            } else {
                format!("/help/{}#{}", page.slug, section.anchor)
            };
            Found {
                href,
                page: &page.title,
                section: &section.title,
                excerpt: excerpt(&section.text, first),
            }
        })
        .collect()
}

/// The words around the first hit.
fn excerpt(text: &str, word: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|w| w.to_lowercase().contains(word)).unwrap_or(0);
    let (from, to) = (at.saturating_sub(AROUND), (at + AROUND).min(words.len()));
    let (before, behind) =
        (if from > 0 { "… " } else { "" }, if to < words.len() { " …" } else { "" });
    format!("{before}{}{behind}", words.get(from..to).unwrap_or_default().join(" "))
}

/// The handbook is for everybody: who can't sign in reads here what to do.
fn show(
    visitor: Option<&PageContext>,
    status: StatusCode,
    name: &str,
    of_page: Value,
) -> HttpResponse {
    match visitor {
        Some(visitor) => visitor.page(status, name, of_page),
        None => view::page(status, name, of_page),
    }
}

/// All pages, or the sections that were searched for.
pub(crate) async fn list(request: HttpRequest, visitor: Option<PageContext>) -> HttpResponse {
    let query = pairs(request.query_string().as_bytes())
        .into_iter()
        .find_map(|(key, value)| (key == "q").then(|| value.trim().to_owned()));
    let query = query.filter(|query| !query.is_empty());
    let found = query.as_deref().map(search);
    show(
        visitor.as_ref(),
        StatusCode::OK,
        "pages/help.html",
        context! { pages => view::value(&*PAGES), query, found => view::value(found), one => () },
    )
}

/// One page.
pub(crate) async fn read(
    request: HttpRequest,
    slug: web::Path<String>,
    visitor: Option<PageContext>,
) -> HttpResponse {
    if let Some((_, kind, text)) = DOWNLOADS.iter().find(|(name, ..)| *name == slug.as_str()) {
        return HttpResponse::Ok()
            .content_type(*kind)
            .insert_header(ContentDisposition::attachment(slug.as_str()))
            .body(*text);
    }
    let Some(one) = PAGES.iter().find(|page| page.slug == slug.as_str()) else {
        return show(
            visitor.as_ref(),
            StatusCode::NOT_FOUND,
            "pages/nothing_here.html",
            context! { path => request.path() },
        );
    };
    let contents: Vec<&Section> =
        one.sections.iter().filter(|section| !section.anchor.is_empty()).collect();
    let of_page = context! { pages => view::value(&*PAGES), query => (), found => (), one => view::value(one), contents => view::value(contents) };
    show(visitor.as_ref(), StatusCode::OK, "pages/help.html", of_page)
}
