// RegisteredMemory, tested without a port, on a MemoryBackend: the calls of a backend that concern
// memory.
#include "core/registered_memory.hpp"

#include <gtest/gtest.h>

#include <new>

#include "parts_fixture.hpp"

namespace iocp::scripted {
namespace {

class Kernel final : public MemoryBackend {
public:
    Error answer;
    bool lets_go{true};
    bool out_of_memory{false};
    int pinned{0};

    Error pin(std::byte* /*data*/, std::size_t /*length*/) override {
        if (out_of_memory) {
            throw std::bad_alloc();
        }
        pinned += answer ? 0 : 1;
        return answer;
    }
    bool unpin(std::byte* /*data*/) override {
        pinned -= lets_go ? 1 : 0;
        return lets_go;
    }
    [[nodiscard]] std::uint32_t kernel_locked(const Operation& /*op*/) const noexcept override {
        return 0;
    }
};

class RegisteredMemoryTest : public PartsTest {
protected:
    RegisteredMemoryTest() : ledger_(page(), 4 * page()) {}

    Kernel kernel_;
    Ledger ledger_;
    std::byte* data_{nullptr};
};

TEST_F(RegisteredMemoryTest, WholePagesCountAgainstTheBudgetOnce) {
    RegisteredMemory memory(kernel_, parts().calls, ledger_);
    ASSERT_FALSE(memory.add(page() + 1, data_));
    EXPECT_EQ(ledger_.registered_bytes(), 2 * page());
    EXPECT_TRUE(memory.contains(data_, 2 * page()));
    EXPECT_FALSE(memory.contains(data_ + 1, 2 * page()));
    std::byte* more = nullptr;
    EXPECT_EQ(memory.add(3 * page(), more).fault, Fault::budget);
    EXPECT_EQ(kernel_.pinned, 1);
}

TEST_F(RegisteredMemoryTest, MemoryIsKeptUntilTheKernelLetsGo) {
    RegisteredMemory memory(kernel_, parts().calls, ledger_);
    ASSERT_FALSE(memory.add(1, data_));
    memory.free_unwanted();
    EXPECT_EQ(kernel_.pinned, 1) << "it is still wanted";
    kernel_.lets_go = false;
    memory.remove(data_);
    memory.free_unwanted();
    EXPECT_EQ(ledger_.registered_bytes(), page());
    kernel_.lets_go = true;
    memory.free_unwanted();
    EXPECT_EQ(ledger_.registered_bytes(), 0U);
    EXPECT_EQ(kernel_.pinned, 0);
}

TEST_F(RegisteredMemoryTest, ARefusalOfTheKernelLeavesNothing) {
    RegisteredMemory memory(kernel_, parts().calls, ledger_);
    kernel_.answer = {Fault::system, code_exhausted, nullptr};
    EXPECT_EQ(memory.add(1, data_).fault, Fault::resource);
    EXPECT_EQ(data_, nullptr);
    EXPECT_EQ(ledger_.registered_bytes(), 0U);
}

TEST_F(RegisteredMemoryTest, ARefusalKeepsItsText) {
    RegisteredMemory memory(kernel_, parts().calls, ledger_);
    kernel_.answer = {Fault::resource, code_exhausted, "what to do"};
    EXPECT_STREQ(memory.add(1, data_).text, "what to do");
    EXPECT_EQ(ledger_.registered_bytes(), 0U);
}

TEST_F(RegisteredMemoryTest, ABackendWithoutMemoryLeavesNothing) {
    RegisteredMemory memory(kernel_, parts().calls, ledger_);
    kernel_.out_of_memory = true;
    EXPECT_EQ(memory.add(1, data_).fault, Fault::resource);
    EXPECT_EQ(data_, nullptr);
    EXPECT_EQ(ledger_.registered_bytes(), 0U);
}

TEST_F(RegisteredMemoryTest, WithoutABackendMemoryIsFreedAtOnce) {
    RegisteredMemory memory(kernel_, parts().calls, ledger_);
    ASSERT_FALSE(memory.add(1, data_));
    memory.release_backend();
    EXPECT_EQ(ledger_.registered_bytes(), page()) << "it is still wanted";
    memory.remove(data_);
    EXPECT_EQ(ledger_.registered_bytes(), 0U);
    EXPECT_EQ(kernel_.pinned, 1) << "the kernel was not asked";
}

}  // namespace
}  // namespace iocp::scripted
