//! The OpenAPI document: what programs that are generated from it rely on.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::edges::root;

fn document() -> Value {
    // In a development build, this also asserts that each example has a call and each list of
    // words a field.
    serde_json::to_value(iocast_server::openapi()).unwrap()
}

/// A field whose description begins with its words has them as an enum, too.
#[test]
fn every_list_of_words_is_an_enum() {
    let mut without = Vec::new();
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let text = property["description"].as_str().unwrap_or_default();
            let is_string = property["type"] == "string"
                || property["type"][0] == "string"
                || property["items"]["type"] == "string";
            let is_enum = !property["enum"].is_null() || !property["items"]["enum"].is_null();
            if is_string && !is_enum && text.starts_with('`') && text.contains("` or `") {
                without.push(format!("{name}.{field}: {text}"));
            }
        }
    }
    assert!(without.is_empty(), "{without:#?}");
}

#[test]
fn every_call_has_a_name_of_its_own_and_an_example() {
    let document = document();
    let mut names = BTreeSet::new();
    let mut shown = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in
            item.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters")
        {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            assert!(names.insert(name.clone()), "{name} is used twice");
            for (form, content) in
                operation["requestBody"]["content"].as_object().into_iter().flatten()
            {
                assert!(!content["example"].is_null(), "{method} {path} ({form}) has no example");
                shown += 1;
            }
        }
    }
    assert!(shown > 40, "{shown} examples");
}

/// Two types of one name would overwrite each other in the document.
#[test]
fn every_schema_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    let folder = root().join("crates/web/src");
    for file in [folder.join("api"), folder.join("public"), folder]
        .into_iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
    {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for after in text.split("ToSchema").skip(1).filter(|after| after.starts_with([')', ','])) {
            let Some(name) = after
                .split("struct ")
                .nth(1)
                .and_then(|rest| rest.split(|c: char| !c.is_alphanumeric()).next())
            else {
                continue;
            };
            if !after.split("struct ").next().unwrap().contains("fn ") {
                assert!(names.insert(name.to_owned()), "{name} is used twice: {}", path.display());
            }
        }
    }
    assert!(names.len() > 60, "{}", names.len());
}
