#pragma once

// The system's headers of addresses and families, for code that is the same on every platform.
#include <winsock2.h>
// winsock2.h must precede every other header of the system.
#include <afunix.h>
#include <ws2tcpip.h>
