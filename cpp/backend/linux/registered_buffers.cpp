#include "backend/linux/registered_buffers.hpp"

#include <sys/mman.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "backend/linux/in_time.hpp"

namespace iocp {

namespace {

// The error of a registration without a ring. The kernel's own answer, EINVAL or in older kernels
// EBADF, would not tell the caller what to do.
constexpr Error no_ring{Fault::resource, ENOMEM,
                        "the thread that ran this port has ended, and the system has refused the "
                        "next thread a ring of its own; run the port again before you register "
                        "memory, or raise RLIMIT_MEMLOCK (ulimit -l)"};

Error error_of(int code) noexcept {
    if (code == EEXIST) {
        return Error::of(Fault::wrong_thread,
                         "another thread runs this port; only that thread can register memory");
    }
    return {Fault::system, code, nullptr};
}

}  // namespace

Error RegisteredBuffers::add(std::byte* data, std::size_t length) {
    if (!ring_.is_open()) {
        return no_ring;
    }
    if (table_.empty()) {
        table_.reserve(max);
        if (const int code = make_table(); code != 0) {
            return error_of(code);
        }
        table_.resize(max);
    }
    const auto free = std::find_if(table_.begin(), table_.end(),
                                   [](const Buffer& one) { return one.data == nullptr; });
    if (free == table_.end()) {
        return Error::of(Fault::argument,
                         "64 pieces of memory are registered already; release one");
    }
    // Keeps the memory out of huge pages. A page inside a huge page would be charged, and locked,
    // as the whole huge page.
    (void)::madvise(data, length, MADV_NOHUGEPAGE);
    *free = {data, length};
    const int code = update(static_cast<std::size_t>(free - table_.begin()));
    if (code != 0) {
        *free = {};
        return error_of(code);
    }
    return {};
}

bool RegisteredBuffers::remove(const std::byte* data) noexcept {
    for (Buffer& one : table_) {
        if (one.data == data) {
            const Buffer before = std::exchange(one, {});
            // A closed ring has released all registered memory.
            if (ring_.is_open() && update(static_cast<std::size_t>(&one - table_.data())) != 0) {
                one = before;
                return false;
            }
        }
    }
    return true;
}

// Tries again while RLIMIT_MEMLOCK has no room, because what the old ring had locked counts against
// the new one for a while. All attempts share one limit of time, so each attempt continues with the
// memory that the last one was refused.
bool RegisteredBuffers::restore() noexcept {
    const auto is_free = [](const Buffer& one) { return one.data == nullptr; };
    if (std::all_of(table_.begin(), table_.end(), is_free)) {
        table_.clear();  // the next add() makes the new ring's table
        return true;
    }
    int code = 0;
    bool has_table = false;
    std::size_t place = 0;
    (void)in_time([&] {
        code = has_table ? 0 : make_table();
        has_table = code == 0;
        while (code == 0 && place != table_.size()) {
            code = table_[place].data != nullptr ? update(place) : 0;
            place += code == 0 ? 1 : 0;
        }
        return code != ENOMEM;
    });
    return code == 0;
}

int RegisteredBuffers::index_of(const std::byte* data, std::size_t length) const noexcept {
    for (std::size_t place = 0; place < table_.size(); ++place) {
        const Buffer& one = table_[place];
        if (one.data != nullptr && data >= one.data && data + length <= one.data + one.length) {
            return static_cast<int>(place);
        }
    }
    return -1;
}

int RegisteredBuffers::make_table() const noexcept {
    uring::RsrcRegister table{};
    table.nr = max;
    table.flags = uring::rsrc_register_sparse;
    const int result = ring_.register_with(uring::register_buffers, &table, sizeof table);
    return result < 0 ? -result : 0;
}

int RegisteredBuffers::update(std::size_t place) const noexcept {
    iovec memory{table_[place].data, table_[place].length};
    uring::RsrcUpdate change{};
    change.offset = static_cast<std::uint32_t>(place);
    change.data = reinterpret_cast<std::uint64_t>(&memory);
    change.nr = 1;
    const int result = ring_.register_with(uring::register_buffers_update, &change, sizeof change);
    return result < 0 ? -result : 0;
}

}  // namespace iocp
