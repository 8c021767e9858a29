#include "check.h"
#include "sha256.h"

#include <vector>

namespace
{

struct Known
{
    std::size_t sizeBytes;
    char const* hash;
};

// Of the bytes (7 i + 3) mod 256, by Python's hashlib; sizes on both sides of where the padding needs another block.
Known const kKNOWN[]{
    {0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {1, "084fed08b978af4d7d196a7446a86b58009e636b611db16211b65a9aadff29c5"},
    {55, "e7313d333c272e639f790978283f9eb392e843d0f29b7016828bb1daa4aac70b"},
    {56, "4324d65f3c103567f5589c710bc08f8523f929a9272e3af36fc968e52abc6c27"},
    {63, "81c80242132f230c3bd41b3e63bbcff16107339549214a99614ff26664625055"},
    {64, "39e3d7b6b5d075d37d053ad89b24b41bef4f3c29760c84447cab3f3be1882241"},
    {65, "aacca6ff74fdbb296d165a45cecfa04e5127bc008770fbbdd48006f2d2fae95e"},
    {119, "9ce7368e4daf32341631b492e80359dc9f594b48453cd0dd5bf0b19279cc177e"},
    {120, "7836b787757e95e58b3ca5aec90b1b004e8deba1e50e9675af9cabf1a13a04b5"},
    {1000, "1e9bc38cbf860b9ec31918b065f9b52476c549a782e0e7990bed8ce3868d2371"},
};

void hashesBytes()
{
    for (Known const& known : kKNOWN)
    {
        std::vector<unsigned char> bytes;
        for (std::size_t at = 0; at < known.sizeBytes; ++at)
        {
            bytes.push_back(static_cast<unsigned char>((at * 7 + 3) % 256));
        }
        EXPECT_EQUAL(s2deploy::sha256(bytes.data(), bytes.size()), known.hash);
    }
}

void hashesTheStandardsExample()
{
    EXPECT_EQUAL(
        s2deploy::sha256("abc", 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

} // namespace

int main()
{
    return test::run(hashesBytes, hashesTheStandardsExample);
}
