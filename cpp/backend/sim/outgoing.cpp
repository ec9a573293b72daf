#include "backend/sim/outgoing.hpp"

#include <algorithm>

namespace iocp::sim {

void Outgoing::copy(const std::byte* data, std::size_t length) {
    const std::uint64_t position = buffer_.back();
    buffer_.append(data, length);
    if (chunks_.empty() || chunks_.back().locked()) {
        Chunk chunk;
        chunk.begin = end;
        chunk.position = position;
        chunk.end = end;
        chunks_.push_back(chunk);
    }
    end += length;
    chunks_.back().end = end;
    copied_sends_.back().end = end;
    copied_ += length;
}

void Outgoing::lock(const std::byte* data, std::size_t length, SlotId operation,
                    std::uint32_t pages) {
    Chunk chunk;
    chunk.begin = end;
    end += length;
    chunk.end = end;
    chunk.memory = data;
    chunk.operation = operation;
    chunk.pages = pages;
    chunks_.push_back(chunk);
}

std::size_t Outgoing::find(std::uint64_t position) const noexcept {
    const auto found = std::partition_point(chunks_.begin(), chunks_.end(),
                                            [&](const Chunk& one) { return one.end <= position; });
    return static_cast<std::size_t>(found - chunks_.begin());
}

Outgoing::Reach Outgoing::reach(std::uint64_t position) const noexcept {
    std::size_t at = find(position);
    if (at == chunks_.size()) {
        return {position, false};
    }
    const Chunk& first = chunks_[at];
    // The parts of one gathered send are one request and share segments. Two sends never do.
    while (first.locked() && at + 1 < chunks_.size() && chunks_[at + 1].locked() &&
           chunks_[at + 1].operation.packed() == first.operation.packed()) {
        ++at;
    }
    return {chunks_[at].end, first.locked()};
}

void Outgoing::read(std::uint64_t position, std::size_t length, std::byte* out) const noexcept {
    for (std::size_t at = find(position); length != 0; ++at) {
        const Chunk& chunk = chunks_[at];
        const std::uint64_t skip = position - chunk.begin;
        const std::size_t part =
            std::min<std::size_t>(length, static_cast<std::size_t>(chunk.end - position));
        const std::byte* from =
            chunk.locked() ? chunk.memory + skip : buffer_.at(chunk.position + skip);
        out = std::copy_n(from, part, out);
        position += part;
        length -= part;
    }
}

std::uint32_t Outgoing::acknowledge(std::uint64_t position) {
    acknowledged = position;
    std::uint32_t pages = 0;
    std::size_t gone = 0;
    for (Chunk& chunk : chunks_) {
        const std::uint64_t upto = std::min(position, chunk.end);
        if (upto <= chunk.begin) {
            break;
        }
        const std::uint64_t part = upto - chunk.begin;
        if (chunk.locked()) {
            chunk.memory += part;
        } else {
            buffer_.drop(static_cast<std::size_t>(part));
            chunk.position += part;
        }
        chunk.begin = upto;
        if (upto != chunk.end) {
            break;
        }
        pages += chunk.pages;
        ++gone;
    }
    chunks_.erase(chunks_.begin(), chunks_.begin() + static_cast<std::ptrdiff_t>(gone));
    while (!copied_sends_.empty() && copied_sends_.front().end <= position) {
        copied_ -=
            static_cast<std::size_t>(copied_sends_.front().end - copied_sends_.front().begin);
        copied_sends_.pop_front();
    }
    return pages;
}

std::uint32_t Outgoing::cut(std::uint64_t begin) {
    Vector<Chunk> rest;
    while (!chunks_.empty() && chunks_.back().locked() && chunks_.back().end > begin) {
        rest.push_back(chunks_.back());
        chunks_.pop_back();
    }
    if (rest.empty()) {
        return 0;
    }
    const std::uint64_t sent = highest_sent;
    std::uint32_t pages = 0;
    end = rest.back().begin;
    std::for_each(rest.rbegin(), rest.rend(), [&](const Chunk& chunk) {
        pages += chunk.pages;
        if (sent > chunk.begin) {
            begin_copied_send();
            copy(chunk.memory, static_cast<std::size_t>(std::min(sent, chunk.end) - chunk.begin));
        }
    });
    given_to_transport = end;
    return pages;
}

std::uint32_t Outgoing::locked_pages(SlotId operation) const noexcept {
    std::uint32_t pages = 0;
    for (const Chunk& chunk : chunks_) {
        pages += chunk.locked() && chunk.operation.packed() == operation.packed() ? chunk.pages : 0;
    }
    return pages;
}

}  // namespace iocp::sim
