#pragma once

#include <cstddef>
#include <string>

namespace s2deploy
{

//! Hexadecimal SHA-256 of bytes.
//!
//! Source: FIPS PUB 180-4, sections 4.1.2, 4.2.2, 5.3.3 and 6.2.
std::string sha256(void const* data, std::size_t sizeBytes);

} // namespace s2deploy
