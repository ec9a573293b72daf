// Named pipes: which handles are taken, and reads that do not wait.
#ifdef _WIN32

#include "backend/windows/pipe.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace iocp {
namespace {

// Both ends of a named pipe; `mode` holds the bits for a pipe of messages.
class Pipe {
public:
    explicit Pipe(DWORD mode = 0, DWORD overlapped = FILE_FLAG_OVERLAPPED) {
        static int number = 0;
        const std::string name = R"(\\.\pipe\iocp_sock_test-)" +
                                 std::to_string(::GetCurrentProcessId()) + "-" +
                                 std::to_string(number++);
        reading = ::CreateNamedPipeA(name.c_str(), PIPE_ACCESS_DUPLEX | overlapped, mode, 1, 8192,
                                     8192, 0, nullptr);
        writing = ::CreateFileA(name.c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr,
                                OPEN_EXISTING, 0, nullptr);
    }
    ~Pipe() {
        (void)::CloseHandle(reading);
        close_writing();
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;

    void write(const std::string& text) const {
        DWORD written = 0;
        ASSERT_NE(
            ::WriteFile(writing, text.data(), static_cast<DWORD>(text.size()), &written, nullptr),
            FALSE);
    }
    void close_writing() {
        if (writing != INVALID_HANDLE_VALUE) {
            (void)::CloseHandle(writing);
            writing = INVALID_HANDLE_VALUE;
        }
    }

    HANDLE reading{INVALID_HANDLE_VALUE};
    HANDLE writing{INVALID_HANDLE_VALUE};
};

class PipeReaderTest : public ::testing::Test {
protected:
    StartResult read(const Pipe& pipe, std::size_t length) {
        return reader.read(pipe.reading, room.data(), length);
    }
    [[nodiscard]] std::string text(const StartResult& result) const {
        return {reinterpret_cast<const char*>(room.data()), static_cast<std::size_t>(result.value)};
    }

    Winsock winsock;
    PipeReader reader{winsock};
    std::array<std::byte, 100> room{};
};

TEST(Pipes, OnlyPipesForOverlappedCallsAreTaken) {
    EXPECT_EQ(check_pipe(Pipe().reading), 0);
    EXPECT_EQ(check_pipe(Pipe(0, 0).reading), WSAEINVAL) << "a call would wait";
    const HANDLE event = ::CreateEventW(nullptr, TRUE, FALSE, nullptr);
    EXPECT_EQ(check_pipe(event), WSAENOTSOCK);
    (void)::CloseHandle(event);
}

TEST_F(PipeReaderTest, AnEmptyPipeWouldWait) {
    const Pipe pipe;
    EXPECT_EQ(read(pipe, 10).start, Start::pending);
    EXPECT_EQ(bytes_in(pipe.reading), 0);
}

TEST_F(PipeReaderTest, BytesAreReadInParts) {
    const Pipe pipe;
    pipe.write("abcd");
    EXPECT_EQ(bytes_in(pipe.reading), 4);
    EXPECT_EQ(text(read(pipe, 3)), "abc");
    EXPECT_EQ(text(read(pipe, 10)), "d");
    EXPECT_EQ(read(pipe, 10).start, Start::pending);
}

TEST_F(PipeReaderTest, AMessageIsReadInParts) {
    const Pipe pipe(PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE);
    pipe.write("abcd");
    pipe.write("ef");
    EXPECT_EQ(text(read(pipe, 3)), "abc");
    EXPECT_EQ(text(read(pipe, 10)), "d");
    EXPECT_EQ(text(read(pipe, 10)), "ef");
}

TEST_F(PipeReaderTest, TheEndComesBehindTheBytes) {
    Pipe pipe;
    pipe.write("x");
    pipe.close_writing();
    EXPECT_EQ(text(read(pipe, 10)), "x");
    const StartResult end = read(pipe, 10);
    EXPECT_EQ(end.start, Start::done);
    EXPECT_EQ(end.value, 0);
}

// Another reader takes the bytes between the look and the read.
TEST_F(PipeReaderTest, ABeatenReadIsTakenBack) {
    static HANDLE beaten = nullptr;
    winsock.read_file = [](HANDLE pipe, void* data, DWORD size, DWORD* read,
                           OVERLAPPED* request) -> WINBOOL {
        std::array<char, 100> taken{};
        DWORD bytes = 0;
        OVERLAPPED other{};
        (void)::ReadFile(pipe, taken.data(), static_cast<DWORD>(taken.size()), nullptr, &other);
        (void)::GetOverlappedResult(pipe, &other, &bytes, TRUE);
        beaten = pipe;
        return ::ReadFile(pipe, data, size, read, request);
    };
    const Pipe pipe;
    pipe.write("abc");
    EXPECT_EQ(read(pipe, 10).start, Start::pending);
    EXPECT_EQ(beaten, pipe.reading);
    winsock.read_file = &::ReadFile;
    pipe.write("d");
    EXPECT_EQ(text(read(pipe, 10)), "d");
}

}  // namespace
}  // namespace iocp

#endif
