// Package door is the daemon's data door: a Unix socket where a client trades
// a token for a file descriptor, so that it reads and writes the bytes of a
// payload itself and they never pass through the control plane.
//
// # The protocol
//
// The socket is of type SOCK_SEQPACKET: one packet is one frame of at most
// 4 KiB, an OpenRequest from the client or an OpenResponse to it (door.proto).
// Requests on one connection are answered in order. A client may close its side
// after the last request and still gets the answers. An empty packet counts as
// closing.
//
// # What a client cannot do
//
// Descriptors that it sends are discarded by the kernel. Connections that it
// leaves idle are closed, the longest idle first, when others want in. Answers
// that it does not take away end its connection. Whatever it does, the daemon
// keeps no copy of a descriptor that was sent.
//
// # What it leaves out
//
// It judges no token and opens no file: an [Opener] does.
package door
