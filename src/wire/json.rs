//! What JSON from strangers needs beyond serde's derive: a bound on nesting, objects that are really objects, and
//! null in the place of an absent member.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{WireError, limits};

/// Bytes that travel as base64 text (RFC 4648 section 4, with padding).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Base64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64 text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Base64, E> {
                STANDARD.decode(text).map(Base64).map_err(E::custom)
            }
        }

        d.deserialize_str(Text)
    }
}

/// Refuses JSON nested deeper than [`limits::MAX_JSON_DEPTH`] before anything is built from it.
pub(super) fn check_depth(text: &str) -> Result<(), WireError> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > limits::MAX_JSON_DEPTH {
                    return Err(WireError::Json(format!("nested deeper than {}", limits::MAX_JSON_DEPTH)));
                }
            }
            // More closed than opened is for the parser to find.
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// `T` read from an object. By itself a derived `Deserialize` would take an array of the members as well, in the
/// order of their declaration, which is nothing that the protocol promises.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        d.deserialize_map(Members(PhantomData))
    }
}

/// For `deserialize_with`, beside `default`: null counts as absent.
pub(super) fn null_is_absent<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// For `deserialize_with`, beside `default`: an object, or null for absent.
pub(super) fn object<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<Object<T>>::deserialize(d)?.map(|Object(value)| value).unwrap_or_default())
}

/// For `deserialize_with`: an array of objects.
pub(super) fn objects<'de, D, T>(d: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Items<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of objects")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(Object(item)) = seq.next_element()? {
                items.push(item);
            }
            Ok(items)
        }
    }

    d.deserialize_seq(Items(PhantomData))
}

/// For `deserialize_with`, beside `default`: an array of objects; null counts as absent.
pub(super) fn null_or_objects<'de, D, T>(d: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct All<T>(Vec<T>);

    impl<'de, T: Deserialize<'de>> Deserialize<'de> for All<T> {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            objects(d).map(All)
        }
    }

    Ok(Option::<All<T>>::deserialize(d)?.map_or_else(Vec::new, |All(items)| items))
}

/// For `deserialize_with`, beside `default`: one of the words of `T`; a word that only a later version knows counts
/// as absent.
pub(super) fn known_word<'de, D, T>(d: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<String>::deserialize(d)?.and_then(word))
}

/// The value of the enumeration `T` that `text` is the word for.
pub(super) fn word<'de, T: Deserialize<'de>>(text: String) -> Option<T> {
    let text: StringDeserializer<serde::de::value::Error> = text.into_deserializer();
    T::deserialize(text).ok()
}

/// For `skip_serializing_if`.
pub(super) fn is_zero(n: &u16) -> bool {
    *n == 0
}

/// The same.
pub(super) fn is_false(b: &bool) -> bool {
    !b
}
