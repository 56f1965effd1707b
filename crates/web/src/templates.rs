//! Pages, from `web-templates/`, compiled in.

use std::sync::LazyLock;

use minijinja::{Environment, UndefinedBehavior, Value};

/// Every template: name and text.
const TEMPLATES: &[(&str, &str)] = &[
    ("parts/frame.html", include_str!("../../../web-templates/parts/frame.html")),
    ("pages/start.html", include_str!("../../../web-templates/pages/start.html")),
    ("pages/feed.html", include_str!("../../../web-templates/pages/feed.html")),
    ("pages/device.html", include_str!("../../../web-templates/pages/device.html")),
    ("pages/password.html", include_str!("../../../web-templates/pages/password.html")),
    ("pages/nothing_here.html", include_str!("../../../web-templates/pages/nothing_here.html")),
];

/// The style sheet of all pages.
pub(crate) const STYLE: &str = include_str!("../../../web-templates/parts/style.css");

/// The script of the page where a password is chosen.
pub(crate) const PASSWORD_SCRIPT: &str = include_str!("../../../web-templates/parts/password.js");

static ENVIRONMENT: LazyLock<Result<Environment<'static>, minijinja::Error>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    for (name, text) in TEMPLATES {
        environment.add_template(name, text)?;
    }
    Ok(environment)
});

/// Renders a page.
pub(crate) fn render(name: &str, context: Value) -> Result<String, minijinja::Error> {
    match &*ENVIRONMENT {
        Ok(environment) => environment.get_template(name)?.render(context),
        Err(error) => Err(minijinja::Error::new(error.kind(), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_renders_with_nasty_values() {
        let lines = ["<script>alert(1)</script>", "\"quoted\" & more"];
        for (name, _) in TEMPLATES.iter().filter(|(n, _)| n.starts_with("pages/")) {
            let page = render(name, minijinja::context! { lines, version => "0", emulator => true, id => "0", path => "/<b>" }).unwrap();
            assert!(page.contains("<title>") && !page.contains("<script>alert") && !page.contains("/<b>"), "{name}");
        }
    }
}
