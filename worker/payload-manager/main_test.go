package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScriptsCanTellMisuseFromFailure(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"--version"}, 0},
		{[]string{"--help"}, 0},
		{[]string{"config"}, 0},
		{[]string{"config", "extra"}, misuse},
		{[]string{"bogus"}, misuse},
		{[]string{"--tiers.ram.capcity=1GiB"}, misuse},
		{[]string{"dev", "--tiers.ram.capacity=lots"}, misuse},
		{[]string{"vault", "--end-with", "me"}, misuse},
		{[]string{"vault", "--socket", "/nowhere/at-all.sock"}, failed},
		{[]string{"--config"}, misuse},
		{[]string{"--config", "/nowhere/at-all.yaml"}, failed},
		{[]string{"--listen.tcp", "0.0.0.0:7400"}, failed},
		{[]string{"dev", "--log.level", "loud"}, failed},
	} {
		require.Equal(t, test.code, execute(t.Context(), test.args), test.args)
	}
}
