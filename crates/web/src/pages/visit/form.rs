//! Forms: read, checked, and shown again.

use std::collections::BTreeMap;

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::StatusCode};
use iocast_app::AppError;
use minijinja::Value;

use super::{
    super::view::{self},
    Extracting, Failure, PageContext, pairs,
};
use crate::{
    extract::{BODY_MAX, app, foreign, read_small, uncompressed},
    problem::Problem,
};

/// A form that a visitor sent from one of our pages.
pub(crate) struct Form {
    pub(crate) visitor: PageContext,
    fields: Fields,
}

/// The fields of a form, in order; a name may come several times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl FromRequest for Form {
    type Error = Failure;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let mut payload = payload.take();
        Box::pin(async move {
            let visitor = match PageContext::from_request(&request, &mut Payload::None).await {
                Err(failure) if failure.problem.status == 401 => {
                    return Err(failure.keeping(&request, &mut payload).await);
                }
                visitor => visitor?,
            };
            let fields = Fields::read(&request, &mut payload, BODY_MAX).await?;
            if !visitor.app.accounts.is_form_token(&visitor.actor, fields.text("token")) {
                return Err(Problem::new(
                    StatusCode::FORBIDDEN,
                    "form_token",
                    "This form was made in another session. Nothing was changed: go back, reload the page and send it again.",
                )
                .into());
            }
            Ok(Self { visitor, fields })
        })
    }
}

impl std::ops::Deref for Form {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.fields
    }
}

impl Fields {
    /// Reads a form's body; one that another site sent is refused.
    pub(crate) async fn read(
        request: &HttpRequest,
        payload: &mut Payload,
        max: usize,
    ) -> Result<Self, Failure> {
        if foreign(request, &*app(request)?) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "foreign_origin",
                "This form was sent from another site; nothing was changed.",
            )
            .into());
        }
        if actix_web::HttpMessage::content_type(request) != "application/x-www-form-urlencoded" {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media_type",
                "Pages take forms only; programs use the API at /api/docs/.",
            )
            .into());
        }
        uncompressed(request)?;
        Ok(Self(pairs(&read_small(request, payload.take(), max).await?)))
    }

    /// All of it, in order.
    pub(crate) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    /// A field's text, trimmed; empty where it is not there.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }

    /// A field's text as it was typed.
    pub(crate) fn untrimmed(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// A field's text, unless it is empty.
    pub(crate) fn maybe(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|t| !t.is_empty()).map(str::to_owned)
    }

    /// Everything that was sent under a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, value)| key == name && !value.trim().is_empty())
            .map(|(_, value)| value.trim())
    }

    /// Whether a box is ticked.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// A whole number; none where the field was left empty. Blanks, commas and dots between
    /// thousands are taken.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, AppError> {
        let Some(text) = self.maybe(name) else { return Ok(None) };
        let thousands: Vec<&str> = text.split([',', '.', ' ', '_', '\u{202f}', '\u{a0}']).collect();
        // 1,5 is no 15: a mark stands before three digits.
        let marked = thousands.iter().skip(1).all(|group| group.len() == 3);
        let digits = if marked { thousands.concat() } else { text };
        digits
            .parse()
            .map(Some)
            .map_err(|_not_a_number| AppError::field(name, "not_a_number", "Give a whole number."))
    }

    /// What the words in a field mean.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, AppError> {
        let wrong =
            |_wrong| AppError::field(name, "not_a_choice", "Choose one of the offered values.");
        self.maybe(name).map(|text| text.parse().map_err(wrong)).transpose()
    }

    /// The same for a name that comes several times.
    pub(crate) fn parsed_all<T: std::str::FromStr>(&self, name: &str) -> Result<Vec<T>, AppError> {
        let wrong =
            |_wrong| AppError::field(name, "not_a_choice", "Choose among the offered values.");
        self.all(name).map(|text| text.parse().map_err(wrong)).collect()
    }

    /// As it was sent, to be shown again beside what is wrong with it: the first of each name.
    pub(crate) fn again(&self) -> Value {
        let mut map: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, value) in &self.0 {
            map.entry(key).or_insert(value);
        }
        view::value(map)
    }
}

impl Form {
    /// Refuses a form that was filled in on a version of its object that is not the present one.
    pub(crate) fn of_version(&self, present: &str) -> Result<(), AppError> {
        let seen = self.text("stamp");
        if seen.is_empty() || seen == present {
            return Ok(());
        }
        let detail = "Someone else changed this. Your input is kept: review it, and save again to overwrite.";
        Err(AppError::Conflict { code: "changed_since", detail: detail.to_owned() })
    }

    /// The id in one of the form's fields.
    pub(crate) fn id(&self, name: &str) -> Result<uuid::Uuid, Failure> {
        let gone = |_wrong: uuid::Error| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "What this form is about is not there any more.",
            )
        };
        Ok(self.text(name).parse().map_err(gone)?)
    }
}
