//! PutResourcePolicy, GetResourcePolicy and DeleteResourcePolicy: kept and
//! returned as they came. No request is judged by them yet.
//!
//! Invariant: what is kept has the form of a policy.

use serde_json::{Map, Value as Json};

use super::Answer;
use crate::call::Call;
use crate::error::{Code, Error};
use crate::input::Input;
use crate::resource::Resource;
use crate::value::Members;

/// Bytes of one policy.
const POLICY_MAX: usize = 20 << 10;
/// Versions of the language of policies.
const VERSIONS: [&str; 2] = ["2008-10-17", "2012-10-17"];
/// Told of a resource without a policy.
const NONE: &str = "{}";

pub(super) async fn put(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let resource = resource(call, input)?;
    let policy = input.required("Policy");
    if policy.len() > POLICY_MAX {
        return Err(Error::new(
            Code::LimitExceeded,
            format!("A policy can have {POLICY_MAX} bytes; this one has {}.", policy.len()),
        ));
    }
    check(policy).map_err(|why| Error::invalid(format!("The policy is malformed: {why}.")))?;
    let policy = policy.to_owned();
    let kept = resource.change(call, move |labels| {
        *labels.policy = Some(policy);
        Ok(())
    });
    kept.await?;
    Ok(Answer::Empty)
}

pub(super) fn get(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let policy = resource(call, input)?.look(|labels| labels.policy.clone())?;
    Ok(Members::new().text("Policy", policy.unwrap_or_else(|| NONE.to_owned())).into())
}

pub(super) async fn delete(call: &Call<'_>, input: Input<'_>) -> Result<Answer, Error> {
    let resource = resource(call, input)?;
    let none =
        Error::not_found(format!("No resource policy found for resource ARN {}.", resource.arn));
    let gone = resource.change(call, move |labels| labels.policy.take().map(drop).ok_or(none));
    gone.await?;
    Ok(Answer::Empty)
}

/// The resource of a request. These operations show a stream that is not there
/// by its ARN.
fn resource<'v>(call: &Call<'_>, input: Input<'v>) -> Result<Resource<'v>, Error> {
    Resource::of(call, input).map_err(|error| {
        let arn = input.required("ResourceARN");
        if error.code == Code::ResourceNotFound && !arn.contains("/consumer/") {
            call.unknown_stream(arn)
        } else {
            error
        }
    })
}

/// Whether `text` has the form of a policy; what is wrong with it.
fn check(text: &str) -> Result<(), String> {
    let policy: Json = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let Json::Object(policy) = policy else { return Err("it is no object".to_owned()) };
    let known = |version: &Json| VERSIONS.iter().any(|known| version == known);
    if policy.get("Version").is_some_and(|version| !known(version)) {
        return Err(format!("Version is one of {}", VERSIONS.join(", ")));
    }
    let statements = match policy.get("Statement") {
        Some(Json::Array(statements)) if !statements.is_empty() => statements.as_slice(),
        Some(statement @ Json::Object(_)) => std::slice::from_ref(statement),
        _ => return Err("it has no Statement".to_owned()),
    };
    for (n, statement) in statements.iter().enumerate() {
        let checked = statement.as_object().ok_or("it is no object".to_owned());
        checked
            .and_then(check_statement)
            .map_err(|why| format!("in Statement {}: {why}", n + 1))?;
    }
    Ok(())
}

fn check_statement(statement: &Map<String, Json>) -> Result<(), String> {
    if !matches!(statement.get("Effect").and_then(Json::as_str), Some("Allow" | "Deny")) {
        return Err("Effect is Allow or Deny".to_owned());
    }
    let one_of = |name: &str| {
        let not = format!("Not{name}");
        match (statement.get(name), statement.get(&not)) {
            (Some(value), None) | (None, Some(value)) => Ok(value),
            _ => Err(format!("it has either {name} or {not}")),
        }
    };
    match one_of("Principal")? {
        Json::String(all) if all == "*" => {}
        Json::Object(by_kind) if !by_kind.is_empty() && by_kind.values().all(is_texts) => {}
        _ => return Err("Principal is \"*\", or names by their kind".to_owned()),
    }
    for name in ["Action", "Resource"] {
        if !is_texts(one_of(name)?) {
            return Err(format!("{name} is a text or a list of texts"));
        }
    }
    if statement.get("Condition").is_some_and(|condition| !condition.is_object()) {
        return Err("Condition is an object".to_owned());
    }
    Ok(())
}

/// A text, or a list of one or more.
fn is_texts(value: &Json) -> bool {
    match value {
        Json::String(_) => true,
        Json::Array(items) => !items.is_empty() && items.iter().all(Json::is_string),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_their_form() {
        let statement =
            r#"{"Effect": "Allow", "Principal": "*", "Action": "kinesis:*", "Resource": "*"}"#;
        for good in [
            format!(r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#),
            format!(r#"{{"Id": "x", "Statement": {statement}}}"#),
            r#"{"Statement": {"Sid": "a", "Effect": "Deny", "NotPrincipal": {"AWS": ["1", "2"]},
                "NotAction": ["kinesis:PutRecord"], "Resource": ["a", "b"], "Condition": {}}}"#
                .to_owned(),
        ] {
            assert_eq!(check(&good), Ok(()), "{good}");
        }
        let without = |name: &str| {
            let mut statement: Map<String, Json> = serde_json::from_str(statement).unwrap();
            statement.remove(name);
            serde_json::json!({"Statement": [statement]}).to_string()
        };
        for (bad, why) in [
            ("", "no JSON"),
            ("{", "no JSON"),
            ("[]", "no object"),
            ("{}", "no Statement"),
            (r#"{"Statement": []}"#, "no Statement"),
            (r#"{"Statement": [1]}"#, "in Statement 1: it is no object"),
            (&format!(r#"{{"Version": "2013", "Statement": {statement}}}"#), "Version"),
            (&without("Effect"), "Effect is"),
            (&without("Principal"), "either Principal or NotPrincipal"),
            (&without("Action"), "either Action or NotAction"),
            (&without("Resource"), "either Resource or NotResource"),
            (&format!(r#"{{"Statement": {}}}"#, statement.replace(r#""kinesis:*""#, "[]")), "list"),
            (&format!("{}1{}", "[".repeat(9999), "]".repeat(9999)), "no JSON"),
        ] {
            let said = check(bad).unwrap_err();
            assert!(said.contains(why), "{bad}: {said}");
        }
    }
}
