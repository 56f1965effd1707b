//! Parts of a document that are taken whole, in the form in which they are kept.

use iocast_app::AppResult;
use iocast_domain::source::SourceLimits;
use serde_json::{Map, Value};

use super::{
    current::{fields, subscription_part},
    normal::Normal,
};
use crate::{
    api::{
        rules::CriteriaWire,
        sources::LimitsWire,
        subscriptions::{SubscriptionIn, is_usual},
    },
    problem::Problem,
};

/// What says nothing, taken out; and lists in order.
pub(super) fn without_empty(fields: Map<String, Value>) -> Map<String, Value> {
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(_) | Value::Bool(true) | Value::Number(_) => true,
    };
    let simple = |value: Value| match value {
        Value::Object(inner) => Value::Object(without_empty(inner)),
        // Of these lists the order says nothing.
        Value::Array(mut all) => {
            all.sort_by_key(ToString::to_string);
            Value::Array(all)
        }
        other => other,
    };
    let some = fields.into_iter().filter(|(_, value)| says(value));
    some.map(|(name, value)| (name, simple(value))).collect()
}

/// The fields of a subscription that are not as usual.
pub(super) fn subscription(fields: Map<String, Value>) -> Map<String, Value> {
    let mut fields = without_empty(fields);
    if fields.contains_key("cron") {
        fields.remove("every_minutes");
    }
    if fields.contains_key("columns") {
        fields.remove("form");
    }
    let protocol = fields.get("protocol").and_then(Value::as_str).unwrap_or("file").to_owned();
    fields.retain(|name, value| !is_usual(&protocol, name, value));
    fields
}

impl Normal<'_> {
    pub(super) fn limits(
        &mut self,
        at: &str,
        given: Map<String, Value>,
    ) -> AppResult<Option<Map<String, Value>>> {
        let at = format!("{at}.limits");
        let read: Result<LimitsWire, _> = serde_json::from_value(given.into());
        let wrong = match read {
            Ok(wire) => match SourceLimits::from(wire).checked() {
                Ok(limits) => return limits_part(limits).map(Some),
                Err(error) => error.message,
            },
            Err(error) => format!("{error}."),
        };
        self.wrong(at, "invalid", wrong);
        Ok(None)
    }

    /// The form in which it would be kept; secrets stay beside it.
    pub(super) fn subscription(
        &mut self,
        at: &str,
        given: Map<String, Value>,
    ) -> AppResult<Option<Map<String, Value>>> {
        let at = format!("{at}.subscription");
        let secrets: Vec<(String, Value)> = ["secret", "certificate_key"]
            .iter()
            .filter_map(|name| given.get(*name).map(|value| ((*name).to_owned(), value.clone())))
            .collect();
        let read: Result<SubscriptionIn, _> = serde_json::from_value(given.into());
        let read = match read {
            Ok(read) => read.checked(),
            Err(error) => {
                self.wrong(at, "invalid", format!("{error}."));
                return Ok(None);
            }
        };
        match read.and_then(|new| self.app.intake.subscription_checked(&new)) {
            Ok(view) => {
                let mut fields = subscription_part(view)?;
                // A secret that nothing asks for is not kept, either.
                let asked = |name: &str| match name {
                    "secret" => fields.contains_key("access"),
                    _ => fields.contains_key("certificate"),
                };
                let secrets: Vec<_> = secrets.into_iter().filter(|of| asked(&of.0)).collect();
                fields.extend(secrets);
                Ok(Some(fields))
            }
            Err(error) => {
                let problem = Problem::from(error);
                for error in &problem.errors {
                    self.wrong(format!("{at}.{}", error.field), &error.code, error.message.clone());
                }
                if problem.errors.is_empty() {
                    self.wrong(at, "invalid", problem.detail);
                }
                Ok(None)
            }
        }
    }

    /// Criteria name sources where the API has ids.
    pub(super) fn criteria(
        &mut self,
        at: &str,
        mut given: Map<String, Value>,
    ) -> AppResult<Option<Map<String, Value>>> {
        if given.contains_key("source_ids") {
            let message = "A document names sources: give `sources` with their names.";
            self.wrong(format!("{at}.source_ids"), "invalid", message);
            return Ok(None);
        }
        let sources: Vec<String> = match given.remove("sources") {
            None => Vec::new(),
            Some(other) => match serde_json::from_value(other) {
                Ok(names) => names,
                Err(error) => {
                    self.wrong(format!("{at}.sources"), "invalid", format!("{error}."));
                    return Ok(None);
                }
            },
        };
        let mut sources: Vec<String> =
            sources.iter().map(|name| self.source(&format!("{at}.sources"), name)).collect();
        sources.sort();
        sources.dedup();
        match serde_json::from_value::<CriteriaWire>(given.into()) {
            Ok(wire) => {
                let mut fields = without_empty(fields(&wire)?);
                if !sources.is_empty() {
                    fields.insert("sources".to_owned(), sources.into());
                }
                Ok(Some(fields))
            }
            Err(error) => {
                self.wrong(at.to_owned(), "invalid", format!("{error}."));
                Ok(None)
            }
        }
    }
}

/// The limits of a source.
pub(super) fn limits_part(limits: SourceLimits) -> AppResult<Map<String, Value>> {
    let mut fields = without_empty(fields(&LimitsWire::from(limits))?);
    fields.retain(|_, value| value.as_object().is_none_or(|all| !all.is_empty()));
    Ok(fields)
}

/// An alert policy counts alerts from when it was made, unless the document says from when on.
pub(super) fn keep_since(criteria: &mut Map<String, Value>, before: Option<&Map<String, Value>>) {
    let Some(Value::Object(alerts)) = criteria.get_mut("alerts") else { return };
    if alerts.get("past").and_then(Value::as_bool) == Some(true) {
        alerts.remove("since");
        return;
    }
    let since = before.and_then(|of| of.get("alerts")).and_then(|of| of.get("since"));
    if let (None, Some(since)) = (alerts.get("since"), since) {
        alerts.insert("since".to_owned(), since.clone());
    }
}
