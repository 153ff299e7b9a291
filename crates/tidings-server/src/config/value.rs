//! What a setting is, how its value is read and written, and the macros that turn the table of `settings` into types.
//! A value comes as text from every layer (a number of the file as its digits), so that all layers read alike.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
};

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use super::settings::Config;

/// One setting: all that is known about it apart from its value.
pub struct Setting {
    /// Its dotted name: `limits.text_bytes`.
    pub name: &'static str,
    /// Its explanation, a line each, as in the sample file.
    pub doc: &'static [&'static str],
    pub(super) range: Option<RangeInclusive<u64>>,
    pub(super) read: fn(&mut Config, &Self, &str) -> Result<(), String>,
    pub(super) write: fn(&Config, &Self) -> String,
    pub(super) expected: fn(&Self) -> String,
}

impl Setting {
    /// Its name in the environment: `TIDINGS_LIMITS_TEXT_BYTES`.
    pub fn variable(&self) -> String {
        format!("TIDINGS_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// What may be written: "a whole number from 1 to 100".
    pub fn expected(&self) -> String {
        (self.expected)(self)
    }

    /// The section of the file it stands in; empty for the settings at the top.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// Its name inside its section.
    pub fn key(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, key)| key)
    }

    fn is_size(&self) -> bool {
        self.name.ends_with("_bytes")
    }

    fn show_number(&self, number: u64) -> String {
        if self.is_size() { show_size(number) } else { number.to_string() }
    }
}

/// A type that settings have.
pub(super) trait Value: Sized {
    /// Reads what a person wrote. An error replaces the usual "must be …, not …".
    fn read(setting: &Setting, text: &str) -> Result<Self, Option<String>>;
    /// The value as it stands in a file.
    fn write(&self, setting: &Setting) -> String;
    /// What may be written, after "must be".
    fn expected(setting: &Setting) -> String;
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Value for Option<Secret> {
    fn read(_: &Setting, text: &str) -> Result<Self, Option<String>> {
        Ok((!text.is_empty()).then(|| Secret(text.to_owned())))
    }

    fn write(&self, _: &Setting) -> String {
        quote(self.as_ref().map_or("", Secret::expose))
    }

    fn expected(_: &Setting) -> String {
        "a text".to_owned()
    }
}

impl Value for String {
    fn read(_: &Setting, text: &str) -> Result<Self, Option<String>> {
        if text.is_empty() { Err(None) } else { Ok(text.to_owned()) }
    }

    fn write(&self, _: &Setting) -> String {
        quote(self)
    }

    fn expected(_: &Setting) -> String {
        "a text, not empty".to_owned()
    }
}

/// One that need not be set: empty text is none.
impl Value for Option<String> {
    fn read(_: &Setting, text: &str) -> Result<Self, Option<String>> {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn write(&self, _: &Setting) -> String {
        quote(self.as_deref().unwrap_or_default())
    }

    fn expected(_: &Setting) -> String {
        "a text".to_owned()
    }
}

impl Value for Option<PathBuf> {
    fn read(_: &Setting, text: &str) -> Result<Self, Option<String>> {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn write(&self, _: &Setting) -> String {
        quote(&self.as_ref().map(|path| path.to_string_lossy()).unwrap_or_default())
    }

    fn expected(_: &Setting) -> String {
        "the path of a file".to_owned()
    }
}

/// Texts of an array in the file, or with commas between them.
fn read_list(text: &str) -> Option<Vec<String>> {
    if !text.starts_with('[') {
        return Some(text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect());
    }
    let text = format!("list = {text}");
    let table = DeTable::parse(&text).ok()?;
    let DeValue::Array(items) = table.get_ref().get("list")?.get_ref() else { return None };
    let text = |item: &DeValue<'_>| if let DeValue::String(text) = item { Some(text.to_string()) } else { None };
    items.iter().map(|item| text(item.get_ref())).collect()
}

fn write_list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.map(|item| quote(&item)).collect::<Vec<_>>().join(", "))
}

impl Value for Vec<String> {
    fn read(_: &Setting, text: &str) -> Result<Self, Option<String>> {
        read_list(text).ok_or(None)
    }

    fn write(&self, _: &Setting) -> String {
        write_list(self.iter().cloned())
    }

    fn expected(_: &Setting) -> String {
        "a list of texts".to_owned()
    }
}

impl Value for Vec<IpNet> {
    fn read(_: &Setting, text: &str) -> Result<Self, Option<String>> {
        let network = |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        read_list(text).ok_or(None)?.iter().map(|item| network(item).map_err(|_| None)).collect()
    }

    fn write(&self, _: &Setting) -> String {
        write_list(self.iter().map(IpNet::to_string))
    }

    fn expected(_: &Setting) -> String {
        "a list of networks like 10.0.0.0/8 or addresses like 192.0.2.7".to_owned()
    }
}

impl Value for PathBuf {
    fn read(_: &Setting, text: &str) -> Result<Self, Option<String>> {
        if text.is_empty() { Err(None) } else { Ok(Self::from(text)) }
    }

    fn write(&self, _: &Setting) -> String {
        quote(&self.to_string_lossy())
    }

    fn expected(_: &Setting) -> String {
        "the path of a folder".to_owned()
    }
}

impl Value for SocketAddr {
    fn read(_: &Setting, text: &str) -> Result<Self, Option<String>> {
        text.parse().map_err(|_| None)
    }

    fn write(&self, _: &Setting) -> String {
        quote(&self.to_string())
    }

    fn expected(_: &Setting) -> String {
        "an IP address and a port, like 127.0.0.1:8080 or [::1]:8080".to_owned()
    }
}

impl Value for Option<SocketAddr> {
    fn read(setting: &Setting, text: &str) -> Result<Self, Option<String>> {
        if text.is_empty() { Ok(None) } else { SocketAddr::read(setting, text).map(Some) }
    }

    fn write(&self, _: &Setting) -> String {
        quote(&self.map(|address| address.to_string()).unwrap_or_default())
    }

    fn expected(setting: &Setting) -> String {
        format!("{}, or empty", SocketAddr::expected(setting))
    }
}

impl Value for bool {
    fn read(_: &Setting, text: &str) -> Result<Self, Option<String>> {
        text.parse().map_err(|_| None)
    }

    fn write(&self, _: &Setting) -> String {
        self.to_string()
    }

    fn expected(_: &Setting) -> String {
        "true or false".to_owned()
    }
}

impl Value for u64 {
    fn read(setting: &Setting, text: &str) -> Result<Self, Option<String>> {
        let number = if setting.is_size() { read_size(text) } else { text.replace('_', "").parse().ok() };
        let allowed = |number: &u64| setting.range.as_ref().is_none_or(|range| range.contains(number));
        number.filter(allowed).ok_or(None)
    }

    fn write(&self, setting: &Setting) -> String {
        if setting.is_size() { quote(&show_size(*self)) } else { self.to_string() }
    }

    fn expected(setting: &Setting) -> String {
        let kind = match setting.name {
            name if name.ends_with("_bytes") => "a size like \"64 KiB\"",
            name if name.ends_with("_ms") => "a number of milliseconds",
            name if name.ends_with("_per_s") => "a number a second",
            name if name.ends_with("_s") => "a number of seconds",
            _ => "a whole number",
        };
        match &setting.range {
            Some(range) => {
                format!("{kind} from {} to {}", setting.show_number(*range.start()), setting.show_number(*range.end()))
            }
            None => kind.to_owned(),
        }
    }
}

/// The smaller numbers read and write as `u64` does.
macro_rules! as_u64 {
    ($($number:ty),*) => {$(
        impl Value for $number {
            fn read(setting: &Setting, text: &str) -> Result<Self, Option<String>> {
                Self::try_from(u64::read(setting, text)?).map_err(|_| None)
            }

            fn write(&self, setting: &Setting) -> String {
                (*self as u64).write(setting)
            }

            fn expected(setting: &Setting) -> String {
                u64::expected(setting)
            }
        }
    )*};
}

as_u64!(u32, usize);

const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

fn read_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let factor = if unit.is_empty() { 1 } else { UNITS.iter().find(|(name, _)| *name == unit)?.1 };
    digits.trim_end().replace('_', "").parse::<u64>().ok()?.checked_mul(factor)
}

fn show_size(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor)).unwrap_or(&UNITS[4]);
    format!("{} {}", bytes / unit.1, unit.0)
}

/// A TOML basic string.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Turns the table into `Config`, a struct a section, their defaults, and `SETTINGS`.
macro_rules! settings {
    (
        $Config:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr $(, in $range:expr)?; )*
        }
        $(
            $(#[doc = $section_doc:literal])+
            [$section:ident] $Section:ident {
                $( $(#[doc = $inner_doc:literal])+ $inner:ident: $inner_type:ty = $inner_default:expr $(, in $inner_range:expr)?; )*
            }
        )*
    ) => {
        /// Every setting of the server, with its value.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $Config {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            $( $(#[doc = $section_doc])+ pub $section: $Section, )*
        }

        impl Default for $Config {
            fn default() -> Self {
                Self { $( $field: $default, )* $( $section: $Section::default(), )* }
            }
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $Section {
                $( $(#[doc = $inner_doc])+ pub $inner: $inner_type, )*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $inner: $inner_default, )* }
                }
            }
        )*

        /// All settings, in the order of the sample file.
        pub static SETTINGS: &[$crate::config::Setting] = &[
            $( $crate::config::value::setting!(
                stringify!($field), [$($doc),+], $type, [$($range)?], $field
            ), )*
            $($( $crate::config::value::setting!(
                concat!(stringify!($section), ".", stringify!($inner)), [$($inner_doc),+], $inner_type, [$($inner_range)?], $section.$inner
            ), )*)*
        ];

        /// The sections of the file and what each is about.
        pub(super) static SECTIONS: &[(&str, &[&str])] = &[$( (stringify!($section), &[$($section_doc),+]), )*];
    };
}

/// One row of `SETTINGS`.
macro_rules! setting {
    ($name:expr, [$($doc:literal),+], $type:ty, [$($range:expr)?], $($path:ident).+) => {
        $crate::config::Setting {
            name: $name,
            doc: &[$($doc),+],
            range: $crate::config::value::setting!(@range $($range)?),
            read: |config, setting, text| {
                config.$($path).+ = $crate::config::value::read(setting, text)?;
                Ok(())
            },
            write: |config, setting| $crate::config::value::Value::write(&config.$($path).+, setting),
            expected: <$type as $crate::config::value::Value>::expected,
        }
    };
    (@range) => { None };
    (@range $range:expr) => { Some($range) };
}

/// Settings that are one of a few words. `not yet` names words that a later version will know.
macro_rules! choices {
    ($( $(#[$meta:meta])* pub enum $name:ident { $($variant:ident = $word:literal),+ } $(not yet { $($later:literal),+ })? )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant,)+ }

        impl $name {
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl $crate::config::value::Value for $name {
            fn read(_: &$crate::config::Setting, text: &str) -> Result<Self, Option<String>> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    $($($later)|+ => Err(Some(format!("`{text}` is not part of this version yet"))),)?
                    _ => Err(None),
                }
            }

            fn write(&self, _: &$crate::config::Setting) -> String {
                $crate::config::value::quote(self.as_str())
            }

            fn expected(_: &$crate::config::Setting) -> String {
                [$($word),+].map($crate::config::value::quote).join(" or ")
            }
        }
    )+};
}

pub(super) use {choices, setting, settings};

/// Reads a value, or says what must stand there instead.
pub(super) fn read<T: Value>(setting: &Setting, text: &str) -> Result<T, String> {
    T::read(setting, text).map_err(|reason| {
        let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("`{}` must be {}, not {}{reason}", setting.name, setting.expected(), quote(text))
    })
}
