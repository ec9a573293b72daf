// Checks end to end that every backend and the model keep the promises of the library. The suite is
// in the files contract_*_test.cpp, and its fixture in contract.hpp.
#include "contract.hpp"

#include "base/process.hpp"

namespace iocp::contract {
namespace {

TEST_P(Contract, HasItsName) {
    EXPECT_EQ(port().backend().name(), modelled() ? "sim" : GetParam());
}

INSTANTIATE_TEST_SUITE_P(Backends, Contract, ::testing::ValuesIn(platform::backends()),
                         [](const auto& tested) { return tested.param; });
INSTANTIATE_TEST_SUITE_P(Backends, Systems, ::testing::ValuesIn(platform::backends()),
                         [](const auto& tested) { return tested.param; });
INSTANTIATE_TEST_SUITE_P(Models, Contract, ::testing::ValuesIn(platform::models()),
                         [](const auto& tested) { return tested.param; });

TEST(Backends, AutoTakesTheFirstThatWorks) {
    BufferPool* pool = BufferPool::create(system_page_size(), mebibyte, 4);
    BackendReason reason;
    std::string expected;
    for (const Surveyed& found : survey_backends()) {
        if (found.state == "ok") {
            expected = found.name;
            break;
        }
    }
    {
        const auto backend = make_backend("auto", *pool, {}, reason);
        ASSERT_NE(backend, nullptr);
        EXPECT_EQ(backend->name(), expected);
        EXPECT_FALSE(reason.text.empty());
    }
    pool->close();
}

TEST(Backends, AnUnknownNameIsRefusedWithTheNamesThereAre) {
    BufferPool* pool = BufferPool::create(system_page_size(), mebibyte, 4);
    BackendReason reason;
    EXPECT_EQ(make_backend("kqueue", *pool, {}, reason), nullptr);
    for (const std::string& name : platform::backends()) {
        EXPECT_NE(reason.text.find(name), std::string::npos);
    }
    pool->close();
}

TEST(Backends, EveryOneIsProbed) {
    std::vector<std::string> names;
    for (const Surveyed& found : survey_backends()) {
        names.push_back(found.name);
        EXPECT_FALSE(found.state.empty());
        EXPECT_EQ(found.features.empty(), found.state != "ok");
    }
    EXPECT_EQ(names, platform::backends());
}

}  // namespace
}  // namespace iocp::contract
