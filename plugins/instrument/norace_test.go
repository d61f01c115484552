//go:build !race

package instrument

const raced = false
