#include "sha256.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace s2deploy
{
namespace
{

using Word = std::uint32_t;
constexpr std::size_t kBLOCK_BYTES = 64;
constexpr std::size_t kLENGTH_BYTES = 8;

constexpr std::array<Word, 64> kROUND_CONSTANTS{0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7,
    0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c,
    0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr Word rotated(Word x, int by) noexcept
{
    return (x >> by) | (x << (32 - by));
}

void absorb(std::array<Word, 8>& state, unsigned char const* block) noexcept
{
    std::array<Word, 64> w{};
    for (std::size_t t = 0; t < 16; ++t)
    {
        w[t] = Word{block[4 * t]} << 24 | Word{block[4 * t + 1]} << 16 | Word{block[4 * t + 2]} << 8 | block[4 * t + 3];
    }
    for (std::size_t t = 16; t < 64; ++t)
    {
        Word const s0 = rotated(w[t - 15], 7) ^ rotated(w[t - 15], 18) ^ (w[t - 15] >> 3);
        Word const s1 = rotated(w[t - 2], 17) ^ rotated(w[t - 2], 19) ^ (w[t - 2] >> 10);
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t t = 0; t < 64; ++t)
    {
        Word const sum1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
        Word const t1 = h + sum1 + ((e & f) ^ (~e & g)) + kROUND_CONSTANTS[t] + w[t];
        Word const sum0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
        Word const t2 = sum0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    std::array<Word, 8> const added{a, b, c, d, e, f, g, h};
    std::transform(state.begin(), state.end(), added.begin(), state.begin(), [](Word x, Word y) { return x + y; });
}

} // namespace

std::string sha256(void const* data, std::size_t sizeBytes)
{
    auto const* bytes = static_cast<unsigned char const*>(data);
    std::array<Word, 8> state{
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::size_t const whole = sizeBytes / kBLOCK_BYTES * kBLOCK_BYTES;
    for (std::size_t at = 0; at < whole; at += kBLOCK_BYTES)
    {
        absorb(state, bytes + at);
    }
    // The rest, a bit 1, zeros, and the length in bits, the most significant byte first.
    std::vector<unsigned char> last(bytes + whole, bytes + sizeBytes);
    last.push_back(0x80);
    last.resize((last.size() + kLENGTH_BYTES + kBLOCK_BYTES - 1) / kBLOCK_BYTES * kBLOCK_BYTES);
    std::uint64_t bits = std::uint64_t{sizeBytes} * 8;
    for (auto byte = last.rbegin(); byte != last.rbegin() + kLENGTH_BYTES; ++byte, bits >>= 8)
    {
        *byte = static_cast<unsigned char>(bits & 0xff);
    }
    for (std::size_t at = 0; at < last.size(); at += kBLOCK_BYTES)
    {
        absorb(state, last.data() + at);
    }
    std::string text;
    for (Word const word : state)
    {
        for (int shift = 28; shift >= 0; shift -= 4)
        {
            text += "0123456789abcdef"[(word >> shift) & 0xf];
        }
    }
    return text;
}

} // namespace s2deploy
