// Package poll is the transport for clients behind something that lets nothing
// else through: a GET that is answered as soon as there is something, and held
// for at most 25 s, on an ordinary kept-alive connection.
//
// A poll without ?session= is complete in itself: its session ends with the
// answer, and the cursor is all that the client brings back. With ?session=,
// empty at first and then what the last answer said, the session lives for 60 s
// between polls: it keeps its number as a sender, its answers to frames sent by
// POST /v1/session/{id} arrive with the next poll, and a poll costs no new
// subscriptions. A cursor other than the one last answered means that the answer
// was lost: the session is replaced, and the cursor counts.
package poll
