package config

import (
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEveryKeyIsDocumentedAndOneOfItsKind(t *testing.T) {
	var c Config
	seen := make(map[string]bool)
	for _, k := range keys(&c) {
		require.Regexp(t, regexp.MustCompile(`^[a-z_]+(\.[a-z_]+)*$`), k.name)
		require.Regexp(t, regexp.MustCompile(`^.+\.$`), k.doc, "%s needs a doc tag: sentences", k.name)
		require.False(t, seen[k.variable()], "two keys are %s", k.variable())
		seen[k.variable()] = true
	}
	for _, k := range settings(&c) {
		require.NotPanics(t, func() { k.text() })
		require.False(t, foreign.MatchString(k.variable()), "%s would be taken for somebody else's", k.variable())
	}
}

func TestAValueIsReadAsItIsWritten(t *testing.T) {
	wrote, read := Default(), Config{}
	blank := settings(&read)
	for i, k := range settings(&wrote) {
		require.NoError(t, blank[i].set(k.text()))
	}
	require.Equal(t, wrote, read)
}

func TestDurationsAreWrittenShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 200 * time.Millisecond: "200ms", 10 * time.Second: "10s", time.Minute: "1m", 90 * time.Second: "1m30s",
		10 * time.Minute: "10m", time.Hour: "1h", 24 * time.Hour: "24h", 90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s",
	} {
		require.Equal(t, want, shortDuration(d))
	}
}

func TestTheMachinesNameBecomesAHostName(t *testing.T) {
	for machine, want := range map[string]string{"Node_7": "node-7", "a.b-c": "a.b-c", "-x-": "x", "___": "", "grün": "gr-n"} {
		require.Equal(t, want, nameFrom(machine))
	}
}

func TestNearestIsNoGuess(t *testing.T) {
	known := []string{"data_dir", "log.level", "tiers.ram.capacity"}
	require.Equal(t, "log.level", nearest("log.levle", known))
	require.Equal(t, "tiers.ram.capacity", nearest("ram.capacity", known))
	require.Empty(t, nearest("colour", known))
	require.Empty(t, nearest("", known))
	require.Equal(t, 3, edits("kitten", "sitting"))
	require.Equal(t, 4, edits("", "four"))
}
