//! The post office: renders typed letters, and hands them over. It does not decide who gets one, or when.

mod letter;
mod post;
mod render;

pub use self::{
    letter::{Letter, LetterError},
    post::{Courier, Failure, Post, Security, Smtp, Transport},
    render::{Content, Rendered, SilentDevice, render},
};
