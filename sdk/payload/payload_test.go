package payload_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/payload-manager/payload-manager/sdk/payload"
)

func TestAnIDHasOneSpelling(t *testing.T) {
	id, err := payload.NewID()
	require.NoError(t, err)

	same, err := payload.ParseID(id.String())
	require.NoError(t, err)
	require.Equal(t, id, same)

	for _, other := range []string{
		"", "x", strings.ToUpper(id.String()), "{" + id.String() + "}", "urn:uuid:" + id.String(),
		strings.ReplaceAll(id.String(), "-", ""),
		"6ba7b810-9dad-11d1-80b4-00c04fd430c8", // version 1
		"00000000-0000-0000-0000-000000000000",
		id.String() + "\x00",
	} {
		_, err := payload.ParseID(other)
		require.ErrorIs(t, err, payload.Invalid, "%q", other)
	}
}

func TestIDsMadeLaterSortLater(t *testing.T) {
	var last string
	for range 1000 {
		id, err := payload.NewID()
		require.NoError(t, err)
		require.Greater(t, id.String(), last)
		last = id.String()
	}
}

func TestTheCheckValueOfCRC32C(t *testing.T) {
	// The check value of the CRC catalogue for CRC-32/ISCSI.
	require.Equal(t, payload.CRC32C(0xe3069283), payload.Sum([]byte("123456789")))
	require.Equal(t, "crc32c:e3069283", payload.Sum([]byte("123456789")).String())
}

func TestNoChecksumIsNotTheChecksumZero(t *testing.T) {
	require.False(t, payload.Checksum{}.Known())
	require.True(t, payload.CRC32C(0).Known())
	require.NotEqual(t, payload.Checksum{}, payload.CRC32C(0))
}

func TestPiecesSumUpToTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.SliceOfN(rapid.Byte(), 0, 4096).Draw(t, "bytes")
		cut := rapid.IntRange(0, len(whole)).Draw(t, "cut")
		head, tail := payload.Sum(whole[:cut]), payload.Sum(whole[cut:])
		require.Equal(t, payload.Sum(whole), head.Then(tail, int64(len(whole)-cut)))
	})
}

func TestAChecksumSurvivesText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sum := payload.CRC32C(rapid.Uint32().Draw(t, "crc"))
		same, err := payload.ParseChecksum(sum.String())
		require.NoError(t, err)
		require.Equal(t, sum, same)
	})
	for _, bad := range []string{"e3069283", "crc32c:", "crc32c:123", "crc32c:zzzzzzzz", "md5:e3069283", "crc32c:e30692830"} {
		_, err := payload.ParseChecksum(bad)
		require.ErrorIs(t, err, payload.Invalid, "%q", bad)
	}
}

func TestARecordSurvivesJSON(t *testing.T) {
	id, err := payload.NewID()
	require.NoError(t, err)
	p := payload.Payload{
		ID: id, Namespace: "default", Size: 7, Checksum: payload.CRC32C(9), State: payload.StateActive, Version: 3,
		Policy: payload.Policy{Tier: payload.RAM, TTL: time.Minute}, CreatedAt: time.Unix(5, 6).UTC(),
		Placements: []payload.Placement{{Tier: payload.RAM, Host: "alpha", State: payload.Ready, Attempt: 2, Location: "l"}},
	}
	text, err := json.Marshal(p)
	require.NoError(t, err)
	var same payload.Payload
	require.NoError(t, json.Unmarshal(text, &same))
	require.Equal(t, p, same)
}

func TestAnErrorKeepsItsCodeThroughWrapping(t *testing.T) {
	id, err := payload.NewID()
	require.NoError(t, err)
	cause := payload.Errorf(payload.Busy, "a writer holds it").Because(payload.StillMapped).Retry(time.Second)

	err = fmt.Errorf("deep: %w", payload.Wrap("outer", payload.ID{}, payload.Wrap("commit", id, cause)))

	require.ErrorIs(t, err, payload.Busy)
	require.NotErrorIs(t, err, payload.NotFound)
	require.Equal(t, payload.Busy, payload.CodeOf(err))
	require.Equal(t, payload.StillMapped, payload.ReasonOf(err))
	known, _ := errors.AsType[*payload.Error](err)
	require.Equal(t, "commit", known.Op, "the innermost operation stays")
	require.Equal(t, id, known.ID)
	require.Equal(t, time.Second, known.RetryAfter)
}

func TestCodesOfErrorsThatAreNotOurs(t *testing.T) {
	require.Empty(t, payload.CodeOf(nil))
	require.NoError(t, payload.Wrap("get", payload.ID{}, nil))
	require.Equal(t, payload.Unavailable, payload.CodeOf(context.DeadlineExceeded))
	require.Equal(t, payload.Internal, payload.CodeOf(errors.New("what")))
}

func TestTiersAreOrderedBySpeed(t *testing.T) {
	for i, fast := range payload.Tiers() {
		for j, slow := range payload.Tiers() {
			require.Equal(t, i <= j, fast.AtLeast(slow), "%s and %s", fast, slow)
		}
		require.True(t, fast.AtLeast(""))
	}
}

func TestNamesThatAreRefused(t *testing.T) {
	for _, bad := range []string{"", "-a", "a-", "A", "a b", "a/b", "a:b", "ä", strings.Repeat("a", 64)} {
		require.ErrorIs(t, payload.CheckNamespace(bad), payload.Invalid, "%q", bad)
	}
	for _, bad := range []string{"a\nb", "\x00", string([]byte{0xff}), strings.Repeat("a", 201)} {
		require.ErrorIs(t, payload.CheckName(bad), payload.Invalid, "%q", bad)
	}
	require.NoError(t, payload.CheckNamespace("team-7"))
	require.NoError(t, payload.CheckName("frames of run 12, Zürich"))
}

func TestPoliciesThatAreRefused(t *testing.T) {
	for name, bad := range map[string]payload.Policy{
		"unknown tier":     {Tier: "tape"},
		"negative ttl":     {TTL: -1},
		"endless ttl":      {TTL: payload.MaxTTL + 1},
		"late commit":      {CommitWithin: payload.MaxAllocated + 1},
		"negative commit":  {CommitWithin: -1},
		"unknown workflow": {Lifecycle: "none"},
	} {
		require.ErrorIs(t, bad.WithDefaults().Check(), payload.Invalid, name)
	}
	require.NoError(t, payload.Policy{}.WithDefaults().Check())
}
