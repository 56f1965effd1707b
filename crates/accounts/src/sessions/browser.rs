//! What a browser proves: a form of ours, a former sign-in.

use subtle::ConstantTimeEq as _;

use crate::{Accounts, Actor, Caller};

impl Accounts {
    /// What a browser is known by in which somebody signed in. Only this installation can make it.
    pub(super) fn known_browser(&self, email: &str) -> String {
        hex::encode(self.context.secrets.hash(&format!("browser {email}")))
    }

    pub(super) fn is_known_browser(&self, email: &str, caller: &Caller) -> bool {
        caller.known_browser.as_ref().is_some_and(|shown| {
            self.known_browser(email).as_bytes().ct_eq(shown.as_bytes()).into()
        })
    }

    /// What the forms that the actor is shown carry, so that no other site can make up one.
    #[must_use]
    pub fn form_token(&self, actor: &Actor) -> String {
        self.context.secrets.form_token(&actor.session.map(|s| s.to_string()).unwrap_or_default())
    }

    /// Whether a form was made for the actor's session.
    #[must_use]
    pub fn is_form_token(&self, actor: &Actor, token: &str) -> bool {
        self.form_token(actor).as_bytes().ct_eq(token.as_bytes()).into()
    }
}
