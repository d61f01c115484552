// Package httpapi is the part of the client port that is plain HTTP: publishing,
// history, presence, the frames of clients whose stream goes one way, tickets,
// and what a client asks before it connects. Every answer that is not a success
// is JSON with a code (PROTOCOL §8).
package httpapi
