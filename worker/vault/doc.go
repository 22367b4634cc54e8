// Package vault keeps volatile memory alive while no daemon runs. A memfd ends
// with its last descriptor; the vault is a process that holds one descriptor of
// each and does nothing else, so that payloads in ram survive a kill and an
// upgrade of the daemon (promise P2). A [Server] is that process, a [Client]
// the daemon's end.
//
// # What it leaves out
//
// The vault reads no bytes, no catalog and no configuration. It knows labels,
// not payloads. It decides nothing by itself, frees nothing that it was not told
// to, and is meant to need no upgrade: restarting it is losing what it keeps,
// but for what a living daemon still has open and hands over again.
//
// # The protocol, version 1
//
// The socket is a Unix one of type SOCK_SEQPACKET with mode 0600; either side
// refuses a peer of another user. One packet is one frame. The client asks, in
// as many frames as it likes without waiting; answers come in the order of the
// requests. Numbers are big endian; a label is 1 to 255 bytes and ends its frame.
//
//	request                           answer when it went well
//	Hello  1, version 2 B, owner 16 B  Welcome: status, version 2 B, nonce 16 B
//	Put    2, label; + 1 descriptor    status      once the vault holds it
//	Get    3, label                    status; + 1 descriptor
//	Retire 4, label                    status      listed as retired from here on
//	Forget 5, label                    status      once the vault has closed it
//	List   6, cursor 4 B               status, next cursor 4 B, entries
//
// An entry is size 8 B, flags 1 B (1 sealed, 2 retired), length of the label
// 1 B, label. Cursor 0 begins a listing of what is kept at that moment; the next
// cursor 0 ends it. A status other than 0 comes alone, Welcome's but with the
// vault's version. A vault never learns a new version; a daemon speaks every
// version that a vault may have.
//
// Putting the same file again under its label changes nothing; another file is
// refused. Retiring and forgetting what is not there does nothing.
//
// # One daemon at a time
//
// The owner is who the segments belong to; while any are kept, another owner is
// refused. A second connection of the same owner takes over: the lock on the
// data directory has already said that the first daemon is dead, and the first
// connection is closed before the second is welcomed.
//
// # When it ends
//
// On SIGTERM; when the process that it was told to end with ends (tests, so
// that no vault outlives them); and when its socket's path is gone and no daemon
// is connected, since nobody can reach it any more. Never with a daemon.
package vault
