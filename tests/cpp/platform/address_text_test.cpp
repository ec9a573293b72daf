#include "backend/address_text.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "backend/families.hpp"

namespace iocp {
namespace {

using What = Resolution::What;

AddressText text_of(int family, std::string host) {
    AddressText text;
    text.family = family;
    text.host = std::move(host);
    text.port = 7;
    return text;
}

TEST(AddressText, NumericHostsNeedNoLookup) {
    struct Case {
        int family;
        const char* host;
        const char* written;
    };
    const std::vector<Case> cases{
        {family_inet, "127.0.0.1", "127.0.0.1"},
        {family_inet, "", "0.0.0.0"},
        {family_inet, "<broadcast>", "255.255.255.255"},
        {family_inet, "127.1", "127.0.0.1"},
        {family_inet6, "::1", "::1"},
        {family_inet6, "", "::"},
        {family_inet6, "::ffff:127.0.0.1", "::ffff:127.0.0.1"},
    };
    for (const Case& one : cases) {
        Address address;
        ASSERT_EQ(address_from_text(text_of(one.family, one.host), address, false).what,
                  What::found)
            << one.host;
        const AddressText back = text_from_address(address);
        EXPECT_EQ(back.family, one.family);
        EXPECT_EQ(back.host, one.written);
        EXPECT_EQ(back.port, 7);
    }
}

TEST(AddressText, ANumericHostOfAnotherFamilyIsNotLookedUp) {
    Address address;
    for (const char* host : {"::1", "fe80::1"}) {
        EXPECT_EQ(address_from_text(text_of(family_inet, host), address).what, What::other_family);
    }
    for (const char* host : {"127.0.0.1", "<broadcast>"}) {
        EXPECT_EQ(address_from_text(text_of(family_inet6, host), address).what, What::other_family);
    }
}

TEST(AddressText, ANameIsLookedUpOnlyWhereThatIsAllowed) {
    Address address;
    EXPECT_EQ(address_from_text(text_of(family_inet, "localhost"), address, false).what,
              What::name);
    EXPECT_EQ(address_from_text(text_of(family_inet, "localhost"), address).what, What::found);
    const std::string label(64, 'a');
    const Resolution outcome = address_from_text(text_of(family_inet, label + ".invalid"), address);
    EXPECT_EQ(outcome.what, What::not_found);
    EXPECT_NE(outcome.code, 0);
}

TEST(AddressText, TheScopeOfTheHostStandsWhereTheTextHasNone) {
    AddressText text = text_of(family_inet6, "fe80::1%1");
    Address address;
    ASSERT_EQ(address_from_text(text, address, false).what, What::found);
    EXPECT_EQ(text_from_address(address).scope_id, 1U);
    text.scope_id = 3;
    ASSERT_EQ(address_from_text(text, address, false).what, What::found);
    EXPECT_EQ(text_from_address(address).scope_id, 3U);
}

}  // namespace
}  // namespace iocp
