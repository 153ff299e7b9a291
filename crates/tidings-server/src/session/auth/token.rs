//! Tokens of a login service: JSON Web Tokens (RFC 7519, RFC 8725), read strictly. Pure: keys, rules and the time come in.
//!
//! A token chooses none of what it is checked with. Its `alg` must be the one of the key that its `kid` names; a header that
//! brings or points to keys, or that asks for something we do not do, is refused rather than ignored.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};
use tidings_proto::{DeviceId, UserId};

use super::{Identity, strict_json};

/// Longer tokens are not looked at.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// The last second of the year 9999: a time beyond it is a mistake.
const TIME_MAX_S: f64 = 253_402_300_799.0;
/// A display name is cut off here: what the directory says is no reason to keep somebody out.
const NAME_CHARS_MAX: usize = 128;

/// Why a token is not believed. The texts say nothing that the token says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("the token is no JSON Web Token with a header, claims and a signature")]
    Shape,
    #[error("the token is too long")]
    TooLong,
    #[error("the token's header is no JSON object, or a name stands twice in it")]
    HeaderJson,
    #[error("the token's alg is none of HS256, RS256, ES256, EdDSA")]
    Algorithm,
    #[error("the token's typ is not JWT")]
    Type,
    #[error("the token's header asks for what this server does not do (crit, b64, zip, cty, enc)")]
    Critical,
    #[error("the token's header brings its own keys (jku, jwk, x5u, x5c); only the server's settings name keys")]
    BringsKeys,
    #[error("the token's kid is no text")]
    KeyName,
    #[error("the token was signed with a key that this server does not know")]
    UnknownKey,
    #[error("the token's alg is not the one of its key")]
    OtherAlgorithm,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token's claims are no JSON object, or a name stands twice in them")]
    ClaimsJson,
    #[error("the token's {0} is no point in time")]
    Time(&'static str),
    #[error("the token has no exp")]
    NoExpiry,
    #[error("the token has expired; log in again")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token was issued in the future")]
    IssuedLater,
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token is meant for somebody else (aud)")]
    Audience,
    #[error("the token lacks the claim {0}")]
    Lacks(String),
    #[error("the token's claim {0} is no user's name: 1 to 128 bytes of text without control characters")]
    User(String),
    #[error("the token's claim {0} is no device's name: 1 to 64 bytes of text without control characters")]
    Device(String),
}

/// What a token must say.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub issuer: Option<String>,
    pub audience: Vec<String>,
    pub leeway_s: u64,
    pub required: Vec<String>,
    pub user_claim: String,
    pub name_claim: Option<String>,
    pub device_claim: String,
}

/// A token whose signature is still to be checked: nothing it claims may be believed yet.
#[derive(Debug)]
pub struct Unverified<'a> {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    /// What was signed.
    pub message: &'a str,
    pub signature: &'a str,
    claims: &'a str,
}

impl<'a> Unverified<'a> {
    pub fn read(token: &'a str) -> Result<Self, Wrong> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Wrong::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Wrong::Shape)?;
        let (header, claims) = message.split_once('.').ok_or(Wrong::Shape)?;
        if claims.contains('.') || [header, claims, signature].contains(&"") {
            return Err(Wrong::Shape);
        }
        // One text for each value: padding, other alphabets and left-over bits are refused.
        URL_SAFE_NO_PAD.decode(signature).map_err(|_| Wrong::Shape)?;
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| Wrong::Shape)?;
        let header = strict_json::object(&header).ok_or(Wrong::HeaderJson)?;
        let has = |names: &[&str]| names.iter().any(|name| header.contains_key(*name));
        if has(&["jku", "jwk", "x5u", "x5c"]) {
            return Err(Wrong::BringsKeys);
        }
        if has(&["crit", "b64", "zip", "cty", "enc"]) {
            return Err(Wrong::Critical);
        }
        let algorithm = match header.get("alg").and_then(Value::as_str) {
            Some("HS256") => Algorithm::HS256,
            Some("RS256") => Algorithm::RS256,
            Some("ES256") => Algorithm::ES256,
            Some("EdDSA") => Algorithm::EdDSA,
            _ => return Err(Wrong::Algorithm),
        };
        if header.get("typ").is_some_and(|kind| !is_token_type(kind)) {
            return Err(Wrong::Type);
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Wrong::KeyName),
        };
        Ok(Self { algorithm, kid, message, signature, claims })
    }

    /// Whom it names. To be asked only when the signature was found right.
    pub fn identity(&self, rules: &Rules, now_ms: u64) -> Result<Identity, Wrong> {
        let claims = URL_SAFE_NO_PAD.decode(self.claims).map_err(|_| Wrong::ClaimsJson)?;
        let claims = strict_json::object(&claims).ok_or(Wrong::ClaimsJson)?;
        let (issued_ms, expires_ms) = check_times(&claims, rules.leeway_s, now_ms)?;
        if let Some(issuer) = &rules.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(Wrong::Issuer);
        }
        if !is_for_us(claims.get("aud"), &rules.audience) {
            return Err(Wrong::Audience);
        }
        let lacks = |name: &&String| claims.get(*name).is_none_or(Value::is_null);
        if let Some(name) = rules.required.iter().find(lacks) {
            return Err(Wrong::Lacks(name.clone()));
        }
        let user = match claims.get(&rules.user_claim) {
            None => return Err(Wrong::Lacks(rules.user_claim.clone())),
            Some(user) => user.as_str().and_then(|user| UserId::new(user).ok()),
        };
        let device = match claims.get(&rules.device_claim) {
            None => None,
            Some(device) => {
                let device = device.as_str().and_then(|device| DeviceId::new(device).ok());
                Some(device.ok_or_else(|| Wrong::Device(rules.device_claim.clone()))?)
            }
        };
        Ok(Identity {
            user: user.ok_or_else(|| Wrong::User(rules.user_claim.clone()))?,
            device,
            issued_ms,
            expires_ms: Some(expires_ms),
            name: rules.name_claim.as_ref().and_then(|claim| display_name(claims.get(claim)?)),
        })
    }
}

/// RFC 7519 section 5.1 and RFC 9068 section 2.1; a media type's `application/` may be left out.
fn is_token_type(kind: &Value) -> bool {
    let Some(kind) = kind.as_str() else { return false };
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt")
}

/// When it was issued and when it ends, leeway included, in unix milliseconds.
fn check_times(claims: &Map<String, Value>, leeway_s: u64, now_ms: u64) -> Result<(u64, u64), Wrong> {
    let leeway_ms = leeway_s * 1_000;
    let ends_ms = time_ms(claims, "exp")?.ok_or(Wrong::NoExpiry)? + leeway_ms;
    if ends_ms <= now_ms {
        return Err(Wrong::Expired);
    }
    if time_ms(claims, "nbf")?.is_some_and(|from_ms| from_ms > now_ms + leeway_ms) {
        return Err(Wrong::NotYet);
    }
    // One that does not say when it was issued counts as issued long ago: revoking its device ends it.
    let issued_ms = time_ms(claims, "iat")?.unwrap_or(0).max(1);
    if issued_ms > now_ms + leeway_ms {
        return Err(Wrong::IssuedLater);
    }
    Ok((issued_ms, ends_ms))
}

fn time_ms(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, Wrong> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=TIME_MAX_S).contains(seconds)).ok_or(Wrong::Time(name))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was just checked")]
    Ok(Some((seconds * 1_000.0) as u64))
}

/// RFC 7519 section 4.1.3: who does not find itself in the audience must refuse.
fn is_for_us(audience: Option<&Value>, ours: &[String]) -> bool {
    let is_ours = |one: &Value| one.as_str().is_some_and(|one| ours.iter().any(|name| name == one));
    match audience {
        None => ours.is_empty(),
        Some(Value::Array(many)) => many.iter().all(Value::is_string) && many.iter().any(is_ours),
        Some(one) => is_ours(one),
    }
}

fn display_name(claim: &Value) -> Option<Box<str>> {
    let name: String = claim.as_str()?.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.into())
}
