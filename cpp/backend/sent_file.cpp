#include "backend/sent_file.hpp"

namespace iocp {

Lease SentFile::lease(std::unique_ptr<SentFile> file, std::size_t count) noexcept {
    SentFile* owned = file.release();
    return {reinterpret_cast<std::byte*>(owned), count, owned,
            [](void* owner) { delete static_cast<SentFile*>(owner); }};
}

}  // namespace iocp
