//! Collections in a stranger's JSON, each with a limit: one byte of JSON can become fifty bytes of memory.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

struct List<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {MAX} at most")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element()? {
            if list.len() == MAX {
                return Err(Error::custom(format_args!("a list of more than {MAX}")));
            }
            list.push(element);
        }
        Ok(list)
    }
}

/// Reads a list of `MAX` elements at most.
pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(List::<T, MAX>(PhantomData))
}

struct Map<V, const MAX: usize>(PhantomData<V>);

impl<'de, V: Deserialize<'de>, const MAX: usize> Visitor<'de> for Map<V, MAX> {
    type Value = BTreeMap<String, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of {MAX} members at most")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<BTreeMap<String, V>, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((name, value)) = members.next_entry()? {
            map.insert(name, value);
            if map.len() > MAX {
                return Err(Error::custom(format_args!("an object of more than {MAX} members")));
            }
        }
        Ok(map)
    }
}

/// Reads an object of `MAX` members at most.
pub fn map<'de, D: Deserializer<'de>, V: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<BTreeMap<String, V>, D::Error> {
    deserializer.deserialize_map(Map::<V, MAX>(PhantomData))
}

fn short<E: Error, const MAX: usize>(text: String) -> Result<String, E> {
    if text.len() > MAX {
        return Err(E::custom(format_args!("a text of {} bytes, which is longer than {MAX}", text.len())));
    }
    Ok(text)
}

/// Reads a text of `MAX` bytes at most.
pub(crate) fn text<'de, D: Deserializer<'de>, const MAX: usize>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).and_then(short::<D::Error, MAX>)
}

/// Reads a text of `MAX` bytes at most, if there is one.
pub(crate) fn optional_text<'de, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(deserializer)?.map(short::<D::Error, MAX>).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Three {
        #[serde(deserialize_with = "list::<_, _, 3>", default)]
        list: Vec<u32>,
        #[serde(deserialize_with = "map::<_, _, 3>", default)]
        map: BTreeMap<String, u32>,
        #[serde(deserialize_with = "optional_text::<_, 3>", default)]
        text: Option<String>,
    }

    fn is_read(json: &str) -> bool {
        serde_json::from_str::<Three>(json).is_ok()
    }

    #[test]
    fn three_are_read_and_four_are_refused() {
        assert!(is_read(r#"{"list": [1, 2, 3], "map": {"a": 1, "b": 2, "c": 3, "a": 4}, "text": "abc"}"#));
        assert!(is_read(r#"{"text": null}"#));
        assert!(!is_read(r#"{"list": [1, 2, 3, 4]}"#));
        assert!(!is_read(r#"{"map": {"a": 1, "b": 2, "c": 3, "d": 4}}"#));
        assert!(!is_read(r#"{"text": "abcd"}"#));
    }
}
