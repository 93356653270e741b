//! JSON and TOML, as their parsers give them, into nodes.

use jsonc_parser::ast;

use super::{Data, Entry, Node};

pub(super) fn strict() -> jsonc_parser::ParseOptions {
    jsonc_parser::ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// Depth is bounded by serde_json's limit, which was passed before.
pub(super) fn node(value: &ast::Value<'_>) -> Node {
    let span = |range: jsonc_parser::common::Range| range.start..range.end;
    match value {
        ast::Value::NullKeyword(null) => Node { range: span(null.range), data: Data::Null },
        ast::Value::BooleanLit(flag) => Node { range: span(flag.range), data: Data::Flag(flag.value) },
        ast::Value::NumberLit(number) => {
            Node { range: span(number.range), data: Data::Number(number.value.to_owned()) }
        }
        ast::Value::StringLit(text) => {
            Node { range: span(text.range), data: Data::Text(text.value.to_string()) }
        }
        ast::Value::Array(array) => {
            Node { range: span(array.range), data: Data::List(array.elements.iter().map(node).collect()) }
        }
        ast::Value::Object(object) => {
            let entries = object.properties.iter().map(|property| {
                use jsonc_parser::common::Ranged;
                Entry {
                    key: property.name.as_str().to_owned(),
                    key_range: span(property.name.range()),
                    value: node(&property.value),
                }
            });
            Node { range: span(object.range), data: Data::Object(entries.collect()) }
        }
    }
}

/// Depth is bounded by the parser's own limit.
pub(super) fn toml_entries(table: &toml::de::DeTable<'_>) -> Vec<Entry> {
    let entry =
        |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<toml::de::DeValue<'_>>)| {
            Entry { key: key.get_ref().to_string(), key_range: key.span(), value: toml_node(value) }
        };
    table.iter().map(entry).collect()
}

fn toml_node(value: &toml::Spanned<toml::de::DeValue<'_>>) -> Node {
    use toml::de::DeValue;
    let data = match value.get_ref() {
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Data::Number(parsed.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()))
        }
        DeValue::Float(number) => Data::Number(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Data::Flag(*flag),
        DeValue::Datetime(moment) => Data::Text(moment.to_string()),
        DeValue::Array(items) => Data::List(items.iter().map(toml_node).collect()),
        DeValue::Table(table) => Data::Object(toml_entries(table)),
    };
    Node { range: value.span(), data }
}
