//! Questions to the kernel's own type information (BTF): prototypes of functions
//! and tracepoints, struct offsets, enumerators.
//!
//! The answers decide which probes are attached and what the programs read, so a
//! question that has no single answer is refused with a reason, never guessed.

mod error;
mod raw;
#[cfg(test)]
mod tests;

pub use error::BtfError;
use raw::{Raw, Type};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// File in which the running kernel shows its BTF.
pub(crate) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Members looked at for one question. vmlinux needs a few hundred; a blob whose
/// anonymous structs fan out exponentially is stopped here.
const MEMBERS_MAX: u32 = 1 << 20;
/// Nesting of anonymous structs.
const NESTING_MAX: u32 = 32;
/// Parameters of one function. The kernel's own limit for probes is 12.
const PARAMS_MAX: usize = 255;
/// Different answers collected for one question; from the second on it is ambiguous anyway.
const ANSWERS_MAX: usize = 16;

/// Type of a parameter, as far as reading it is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ParamType {
    /// An integer.
    Int {
        /// Size in bytes.
        bytes: u32,
        /// Two's complement.
        signed: bool,
    },
    /// `bool`
    Bool {
        /// Size in bytes.
        bytes: u32,
    },
    /// An enum, by its tag (empty when it has none).
    Enum {
        /// Tag.
        name: String,
        /// Size in bytes.
        bytes: u32,
        /// Two's complement.
        signed: bool,
    },
    /// Pointer to a struct (defined or only declared), by its tag (empty when it has none).
    StructPtr(String),
    /// Pointer to void, const or not.
    VoidPtr,
    /// Pointer to `char`, const or not.
    CharPtr,
    /// Any other pointer: to a number, a union, a function, a pointer.
    OtherPtr,
    /// A struct or union passed by value, by its tag (empty when it has none).
    Aggregate {
        /// Tag.
        name: String,
        /// Size in bytes.
        bytes: u32,
    },
    /// Anything else, `...` among it.
    Other,
}

impl fmt::Display for ParamType {
    /// For messages, close to C.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = |name: &str| if name.is_empty() { "(anonymous)".to_owned() } else { name.to_owned() };
        match self {
            Self::Int { bytes, signed } => write!(f, "{}{}", if *signed { 's' } else { 'u' }, u64::from(*bytes) * 8),
            Self::Bool { .. } => write!(f, "bool"),
            Self::Enum { name, .. } => write!(f, "enum {}", tag(name)),
            Self::StructPtr(name) => write!(f, "struct {} *", tag(name)),
            Self::VoidPtr => write!(f, "void *"),
            Self::CharPtr => write!(f, "char *"),
            Self::OtherPtr => write!(f, "pointer"),
            Self::Aggregate { name, bytes } => write!(f, "{} of {bytes} bytes", tag(name)),
            Self::Other => write!(f, "?"),
        }
    }
}

/// One parameter of a prototype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Param {
    /// Its name. Empty in the prototypes of function pointers, which have no names.
    pub(crate) name: String,
    /// Its type.
    pub(crate) ty: ParamType,
}

/// The type information of one kernel.
pub(crate) struct Btf {
    raw: Raw,
}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btf").field("types", &self.raw.len()).finish()
    }
}

impl Btf {
    /// The running kernel's, from [`KERNEL_BTF`].
    ///
    /// # Errors
    /// The file cannot be read (a kernel built without `CONFIG_DEBUG_INFO_BTF` has none), or is not BTF.
    pub(crate) fn from_kernel() -> Result<Self, BtfError> {
        Self::from_file(KERNEL_BTF)
    }

    /// From a file of plain BTF, such as `/sys/kernel/btf/vmlinux` of another machine.
    ///
    /// # Errors
    /// The file cannot be read, or is not BTF.
    pub(crate) fn from_file(path: impl AsRef<Path>) -> Result<Self, BtfError> {
        let path = path.as_ref();
        let data = std::fs::read(path).map_err(|source| BtfError::Io { path: path.into(), source })?;
        Self::parse(data)
    }

    /// From bytes. Any bytes: what is wrong with them is found here or by the
    /// question that runs into it.
    ///
    /// # Errors
    /// The header, a section or a type record is not what the format says.
    pub(crate) fn parse(data: impl Into<Vec<u8>>) -> Result<Self, BtfError> {
        Ok(Self { raw: Raw::parse(data.into())? })
    }

    /// Returns the number of types.
    #[must_use]
    pub(crate) fn types(&self) -> usize {
        self.raw.len()
    }

    /// The parameters of every function of this name, without repetition and at
    /// most 16 of them. More than one entry means that several functions share the
    /// name, and that the symbol may be any of them. Empty when there is none.
    ///
    /// # Errors
    /// Damaged BTF.
    pub(crate) fn func_prototypes(&self, name: &str) -> Result<Vec<Vec<Param>>, BtfError> {
        let mut found = Vec::new();
        for (_, func) in self.raw.named(name).filter(|(_, ty)| ty.kind == raw::FUNC) {
            push_new(&mut found, self.params(func.size_or_type)?);
        }
        Ok(found)
    }

    /// Whether every function of this name returns something. `None` when there is none.
    ///
    /// # Errors
    /// Damaged BTF.
    pub(crate) fn func_returns(&self, name: &str) -> Result<Option<bool>, BtfError> {
        let mut returns = None;
        for (_, func) in self.raw.named(name).filter(|(_, ty)| ty.kind == raw::FUNC) {
            let proto = self.raw.resolve(func.size_or_type)?.filter(|ty| ty.kind == raw::FUNC_PROTO);
            let proto = proto.ok_or(BtfError::Id(func.size_or_type))?;
            // Type 0 is void.
            returns = Some(returns.unwrap_or(true) && proto.size_or_type != 0);
        }
        Ok(returns)
    }

    /// The id of the one function of this name, as bpf(2) takes it.
    ///
    /// # Errors
    /// [`BtfError::Absent`]; [`BtfError::Ambiguous`] when there are several.
    pub(crate) fn func_id(&self, name: &str) -> Result<u32, BtfError> {
        let found = self.raw.named(name).filter(|(_, ty)| ty.kind == raw::FUNC).map(|(id, _)| id);
        single(found.collect(), || format!("function {name}()"))
    }

    /// The id of the one struct of this name, as bpf(2) takes it.
    ///
    /// # Errors
    /// [`BtfError::Absent`]; [`BtfError::Ambiguous`] when there are several.
    pub(crate) fn struct_id(&self, name: &str) -> Result<u32, BtfError> {
        let found = self.raw.named(name).filter(|(_, ty)| ty.kind == raw::STRUCT).map(|(id, _)| id);
        single(found.collect(), || format!("struct {name}"))
    }

    /// The parameters of the one function of this name.
    ///
    /// # Errors
    /// [`BtfError::Absent`]; [`BtfError::Ambiguous`] when functions of this name
    /// differ in their parameters; damaged BTF.
    pub(crate) fn func_params(&self, name: &str) -> Result<Vec<Param>, BtfError> {
        single(self.func_prototypes(name)?, || format!("function {name}()"))
    }

    /// The parameters of the function that this typedef points to. For
    /// `btf_trace_X` they are those of tracepoint X behind a leading `void *`;
    /// prototypes of pointers carry no parameter names.
    ///
    /// # Errors
    /// [`BtfError::Absent`] also when it is no pointer to a function;
    /// [`BtfError::Ambiguous`]; damaged BTF.
    pub(crate) fn typedef_params(&self, name: &str) -> Result<Vec<Param>, BtfError> {
        let mut found = Vec::new();
        for (_, alias) in self.raw.named(name).filter(|(_, ty)| ty.kind == raw::TYPEDEF) {
            let pointer = self.raw.resolve(alias.size_or_type)?.filter(|ty| ty.kind == raw::PTR);
            let Some(pointer) = pointer else { continue };
            if self.raw.resolve(pointer.size_or_type)?.is_some_and(|ty| ty.kind == raw::FUNC_PROTO) {
                push_new(&mut found, self.params(pointer.size_or_type)?);
            }
        }
        single(found, || format!("typedef {name} of a function pointer"))
    }

    /// Returns the offset of a member in a struct (or union), in bytes, also when it is
    /// inside anonymous structs and unions.
    ///
    /// # Errors
    /// [`BtfError::Absent`] for a struct or a member; [`BtfError::Ambiguous`] when
    /// several structs of this name disagree, be it that one lacks the member;
    /// [`BtfError::Bitfield`]; damaged BTF.
    pub(crate) fn member_offset(&self, strukt: &str, member: &str) -> Result<u32, BtfError> {
        let name = || format!("{strukt}.{member}");
        let mut found = Vec::new();
        let mut budget = MEMBERS_MAX;
        for (_, ty) in self.raw.named(strukt).filter(|(_, ty)| is_aggregate(ty)) {
            push_new(&mut found, self.find_member(&ty, member, 0, &mut budget)?);
        }
        let bits = single(found, || format!("struct {strukt}"));
        match bits.map_err(|e| if e.is_absent() { e } else { BtfError::Ambiguous(name()) })? {
            None => Err(BtfError::Absent(name())),
            Some(Place::Bitfield) => Err(BtfError::Bitfield(name())),
            Some(Place::Bits(bits)) if !bits.is_multiple_of(8) => Err(BtfError::Bitfield(name())),
            Some(Place::Bits(bits)) => u32::try_from(bits / 8).map_err(|_| BtfError::Chain),
        }
    }

    /// The size of a struct (or union), in bytes.
    ///
    /// # Errors
    /// [`BtfError::Absent`]; [`BtfError::Ambiguous`] when several of this name disagree; damaged BTF.
    pub(crate) fn struct_size(&self, strukt: &str) -> Result<u32, BtfError> {
        let mut found = Vec::new();
        for (_, ty) in self.raw.named(strukt).filter(|(_, ty)| is_aggregate(ty)) {
            push_new(&mut found, ty.size_or_type);
        }
        single(found, || format!("struct {strukt}"))
    }

    /// The enumerators of an enum. Values of an unsigned 64-bit enum above
    /// `i64::MAX` wrap, as they do in the register.
    ///
    /// # Errors
    /// [`BtfError::Absent`]; [`BtfError::Ambiguous`] when enums of this name differ; damaged BTF.
    pub(crate) fn enum_values(&self, name: &str) -> Result<BTreeMap<String, i64>, BtfError> {
        let mut found = Vec::new();
        for (_, ty) in self.raw.named(name) {
            let mut values = BTreeMap::new();
            match ty.kind {
                raw::ENUM => {
                    for [name, value] in ty.rows() {
                        let value = if ty.flag { i64::from(value as i32) } else { i64::from(value) };
                        values.insert(self.raw.text(name)?, value);
                    }
                }
                raw::ENUM64 => {
                    for [name, low, high] in ty.rows() {
                        values.insert(self.raw.text(name)?, (u64::from(high) << 32 | u64::from(low)) as i64);
                    }
                }
                _ => continue,
            }
            push_new(&mut found, values);
        }
        single(found, || format!("enum {name}"))
    }

    fn params(&self, proto: u32) -> Result<Vec<Param>, BtfError> {
        let proto = self.raw.resolve(proto)?.filter(|ty| ty.kind == raw::FUNC_PROTO).ok_or(BtfError::Id(proto))?;
        if proto.rows::<2>().count() > PARAMS_MAX {
            return Err(BtfError::Chain);
        }
        let param = |[name, ty]: [u32; 2]| Ok(Param { name: self.raw.text(name)?, ty: self.param_type(ty)? });
        proto.rows().map(param).collect()
    }

    fn param_type(&self, id: u32) -> Result<ParamType, BtfError> {
        // A parameter of type void is how BTF writes `...`.
        let Some(ty) = self.raw.resolve(id)? else { return Ok(ParamType::Other) };
        let bytes = ty.size_or_type;
        Ok(match ty.kind {
            raw::INT => {
                let encoding = ty.rows().next().map_or(0, |[word]: [u32; 1]| word >> 24 & 0xf);
                if encoding & 4 != 0 {
                    ParamType::Bool { bytes }
                } else {
                    ParamType::Int { bytes, signed: encoding & 1 != 0 }
                }
            }
            raw::ENUM | raw::ENUM64 => ParamType::Enum { name: self.raw.text(ty.name_off)?, bytes, signed: ty.flag },
            raw::STRUCT | raw::UNION => ParamType::Aggregate { name: self.raw.text(ty.name_off)?, bytes },
            raw::PTR => match self.raw.resolve(ty.size_or_type)? {
                None => ParamType::VoidPtr,
                Some(to) if to.kind == raw::STRUCT || to.kind == raw::FWD && !to.flag => {
                    ParamType::StructPtr(self.raw.text(to.name_off)?)
                }
                Some(to) if to.kind == raw::INT && self.raw.str(to.name_off) == Some(b"char") => ParamType::CharPtr,
                Some(_) => ParamType::OtherPtr,
            },
            _ => ParamType::Other,
        })
    }

    /// Searches one struct, anonymous members included; `outer.inner` names a member of a member. Recursion is bounded by
    /// `depth`, and the whole search by `budget`.
    fn find_member(
        &self,
        ty: &Type<'_>,
        member: &str,
        depth: u32,
        budget: &mut u32,
    ) -> Result<Option<Place>, BtfError> {
        let (first, rest) = member.split_once('.').map_or((member, None), |(first, rest)| (first, Some(rest)));
        for [name, id, offset] in ty.rows() {
            *budget = budget.checked_sub(1).ok_or(BtfError::Chain)?;
            // With the flag the word holds the bitfield's size in its high byte.
            let (bits, bitfield) = if ty.flag { (offset & 0xff_ffff, offset >> 24 != 0) } else { (offset, false) };
            let name = self.raw.str(name).ok_or(BtfError::String(name))?;
            let is_first = !name.is_empty() && name == first.as_bytes();
            if is_first && rest.is_none() {
                let narrow = bitfield || self.is_narrow_int(id)?;
                return Ok(Some(if narrow { Place::Bitfield } else { Place::Bits(u64::from(bits)) }));
            }
            let wanted = match rest {
                Some(rest) if is_first => rest,
                _ if name.is_empty() => member,
                _ => continue,
            };
            if bitfield {
                continue;
            }
            let Some(inner) = self.raw.resolve(id)?.filter(is_aggregate) else { continue };
            if depth >= NESTING_MAX {
                return Err(BtfError::Chain);
            }
            match self.find_member(&inner, wanted, depth + 1, budget)? {
                None => {}
                Some(Place::Bitfield) => return Ok(Some(Place::Bitfield)),
                Some(Place::Bits(more)) => return Ok(Some(Place::Bits(u64::from(bits) + more))),
            }
        }
        Ok(None)
    }

    /// The older way to write a bitfield: an integer type of fewer bits than its bytes have.
    fn is_narrow_int(&self, id: u32) -> Result<bool, BtfError> {
        let Some(ty) = self.raw.resolve(id)?.filter(|ty| ty.kind == raw::INT) else { return Ok(false) };
        let narrow =
            |[word]: [u32; 1]| u64::from(word & 0xff) != u64::from(ty.size_or_type) * 8 || word >> 16 & 0xff != 0;
        Ok(ty.rows().next().is_some_and(narrow))
    }
}

/// Position of a member in its struct.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Bits from the start of the struct.
    Bits(u64),
    Bitfield,
}

fn is_aggregate(ty: &Type<'_>) -> bool {
    matches!(ty.kind, raw::STRUCT | raw::UNION)
}

fn push_new<T: PartialEq>(found: &mut Vec<T>, one: T) {
    if found.len() < ANSWERS_MAX && !found.contains(&one) {
        found.push(one);
    }
}

/// The only answer there is.
fn single<T>(found: Vec<T>, what: impl Fn() -> String) -> Result<T, BtfError> {
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (None, _) => Err(BtfError::Absent(what())),
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(BtfError::Ambiguous(what())),
    }
}
