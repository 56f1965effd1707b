//! What a program shows to be let in.

use base64::{Engine as _, engine::general_purpose};

/// What a device shows of itself: an account ID, where it names one, and a secret.
pub type Credentials = (Option<String>, String);

/// Basic or Bearer; else the header for devices that know only one of their own; else the key in
/// the URL.
///
/// # Errors
/// A sentence that says what is missing.
pub fn shown(
    authorization: Option<&str>,
    api_key: Option<&str>,
    parameters: &[(&str, &str)],
) -> Result<Credentials, &'static str> {
    if let Some(header) = authorization {
        return credentials(header).ok_or("The Authorization header is not readable: use Basic, with the account ID as user and the key as password.");
    }
    let in_url = || parameters.iter().find(|(name, _)| *name == "key").map(|(_, value)| *value);
    let key = api_key.or_else(in_url).ok_or("Authentication needed: Basic, with the account ID as user and an appliance or device key as password.")?;
    Ok((None, key.to_owned()))
}

/// User and password of Basic, split at the first colon; or the key alone as Bearer.
#[must_use]
pub fn credentials(header: &str) -> Option<Credentials> {
    let (scheme, value) = header.trim().split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some((None, value.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = general_purpose::STANDARD_NO_PAD.decode(value.trim_end_matches('=')).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((Some(user.to_owned()), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_as_clients_send_it() {
        let pair = |u: &str, p: &str| Some((Some(u.to_owned()), p.to_owned()));
        assert_eq!(credentials("Basic YTpiOmM="), pair("a", "b:c"));
        assert_eq!(credentials("bAsIc YTpi"), pair("a", "b"));
        assert_eq!(credentials("Basic YTpiOg"), pair("a", "b:"));
        assert_eq!(credentials("Bearer key"), Some((None, "key".to_owned())));
        for bad in ["", "Basic", "Basic !!!", "Basic YWI=", "Digest x"] {
            assert_eq!(credentials(bad), None, "{bad}");
        }
    }
}
