//! The standard rules, a file a field: which makers of tokens there are, and what their tokens look like.
//!
//! Written from what makers say of their formats. A token with marks of its own is found anywhere; a value without any only
//! where it is assigned to a name of its maker. A new rule brings a text that it finds and one that it does not.

mod ai;
mod cloud;
mod code;
mod data;
mod general;
mod messages;
mod money;
mod observe;
mod offices;
mod packages;
mod people;
#[cfg(test)]
mod tests;
mod vaults;

use super::rule::Rule;
pub(super) use general::{PASSWORD, names_a_password};

/// All of them; the more special ones first, as they win a tie.
pub(super) fn all() -> impl Iterator<Item = &'static Rule> {
    let lists: [&'static [Rule]; 11] = [
        ai::RULES,
        cloud::RULES,
        code::RULES,
        data::RULES,
        messages::RULES,
        money::RULES,
        observe::RULES,
        offices::RULES,
        packages::RULES,
        people::RULES,
        vaults::RULES,
    ];
    lists.into_iter().flatten().chain(general::RULES)
}
