//! A form that was sent after the session had ended: it is kept in the sign-in page, and offered
//! again once somebody signed in.

use actix_web::{HttpRequest, http::StatusCode, web};
use iocast_app::App;
use minijinja::{Value, context};

use super::{
    view,
    visit::{Fields, PageContext, PageResult, pairs},
};

/// Longest form that is kept, in bytes. It travels through the sign-in form, which anybody may
/// send.
pub(crate) const KEPT_MAX: usize = 8 * 1024;

/// A form, and where it was going.
#[derive(Debug)]
pub(crate) struct Kept {
    path: String,
    fields: Vec<(String, String)>,
}

impl Kept {
    /// Keeps a form, if it may be kept.
    pub(crate) fn of(path: &str, fields: Fields) -> Option<Self> {
        let fields = fields.into_pairs().into_iter().filter(|(name, _)| name != "token").collect();
        Some(Self { path: path.to_owned(), fields }).filter(Self::may_be_kept)
    }

    /// A form with a password in it is typed again. Places without a page of their own have nothing
    /// to go back to.
    fn may_be_kept(&self) -> bool {
        let bare = ["/sign-", "/emulator/", "/automation/policy/count"];
        view::is_place(&self.path)
            && !bare.iter().any(|place| self.path.starts_with(place))
            && !self.fields.iter().any(|(name, _)| name.contains("password"))
    }

    /// As the sign-in form carries it.
    pub(crate) fn text(&self) -> String {
        let fields = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("", self.path.as_str())].into_iter().chain(fields))
            .finish()
    }

    /// What the sign-in form carried. It may come from anywhere, so it is shown, and sent only if
    /// the person says so.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut pairs = pairs(text.as_bytes()).into_iter();
        let (_, path) = pairs.next().filter(|(name, _)| name.is_empty())?;
        Some(Self { path, fields: pairs.collect() }).filter(Self::may_be_kept)
    }

    /// The page that offers it again, to somebody who just signed in with this token.
    pub(crate) async fn offer(
        &self,
        app: web::Data<App>,
        request: HttpRequest,
        token: &str,
    ) -> PageResult {
        let actor = app.accounts.authenticate(token, crate::extract::caller(&request)).await?;
        let account = app.accounts.account_fetch(&actor).await?;
        let visitor = PageContext { actor, account, app, request };
        let shown = self.fields.iter().filter(|(name, value)| !value.is_empty() && name != "stamp");
        let shown: Vec<Value> =
            shown.map(|(name, value)| context! { name => if name == "do" { "action".to_owned() } else { name.replace('_', " ") }, value }).collect();
        let fields: Vec<Value> =
            self.fields.iter().map(|(name, value)| context! { name, value }).collect();
        Ok(visitor.page(
            StatusCode::OK,
            "pages/kept.html",
            context! { action => self.path.clone(), fields, shown },
        ))
    }
}
