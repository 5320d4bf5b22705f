//! Event tokens: `workflowId|activityName|eventId`, a dot, and an HMAC.

use std::fmt::Write as _;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The portal's signing key. It has no `Debug`: it is a secret.
pub(crate) struct TokenKey(Hmac<Sha256>);

/// What a token says, once its signature was found good.
#[derive(Debug, PartialEq)]
pub(crate) struct Claims<'a> {
    pub(crate) workflow: &'a str,
    pub(crate) activity: &'a str,
    pub(crate) event: &'a str,
}

impl TokenKey {
    pub(crate) fn new(secret: &[u8]) -> Self {
        // The salt names the module, so that a signature made for another one does not fit.
        let salted = [b"bizproc", secret].concat();
        Self(Hmac::new_from_slice(&salted).expect("a key may have any length"))
    }

    pub(crate) fn sign(&self, workflow: &str, activity: &str, event: &str) -> String {
        let mut token = format!("{workflow}|{activity}|{event}");
        let tag = self.0.clone().chain_update(&token).finalize().into_bytes();
        token.push('.');
        for byte in tag {
            write!(token, "{byte:02x}").expect("writing to memory cannot fail");
        }
        token
    }

    /// What `token` says; nothing if it is not one of ours.
    pub(crate) fn verify<'a>(&self, token: &'a str) -> Option<Claims<'a>> {
        // The workflow id has a dot too, so the signature follows the last one.
        let (claims, tag) = token.rsplit_once('.')?;
        let tag = tag_bytes(tag)?;
        self.0.clone().chain_update(claims).verify_slice(&tag).ok()?;
        let mut parts = claims.split('|');
        let (workflow, activity, event) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next().is_none().then_some(Claims { workflow, activity, event })
    }
}

fn tag_bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        hex.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
    Some(
        digits?
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_a_forged_one_is_refused() {
        let key = TokenKey::new(b"secret");
        let token = key.sign("65f1c2d3a4b5c6.12345678", "A1", "e1");
        let claims = Claims { workflow: "65f1c2d3a4b5c6.12345678", activity: "A1", event: "e1" };
        assert_eq!(key.verify(&token), Some(claims));
        assert!(token.starts_with("65f1c2d3a4b5c6.12345678|A1|e1."));

        for forged in [
            token.replace("A1", "A2"),
            token[..token.len() - 1].to_owned(),
            format!("{token}0"),
            "x".to_owned(),
            String::new(),
            "a|b|c.zz".to_owned(),
        ] {
            assert_eq!(key.verify(&forged), None, "{forged}");
        }
        assert_eq!(TokenKey::new(b"other").verify(&token), None);
    }
}
