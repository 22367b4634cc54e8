// Package access opens the bytes of a payload in this process: it is where a
// descriptor and a token become memory.
//
//	a token, at the data door      Door → File → Mapping
//	a URL, to read from            Storage.Reader → Remote
//	upload parts, to write to      Storage.Stage → Upload
//
// It exists apart from the client so that whoever has a token or a URL, from
// wherever, can use it without speaking to the façade.
//
// # What it leaves out
//
// It acquires, renews and releases no lease, and commits nothing: those who
// call it keep the promise alive while they read. It uses no cgo.
package access
