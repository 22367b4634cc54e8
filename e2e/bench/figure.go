package main

import (
	"fmt"
	"slices"
	"time"
)

// A figure is one row: ours beside what it is compared to, round by round.
type figure struct {
	name  string
	base  string // what it is compared to
	goal  string
	ours  []float64
	bases []float64
	unit  string
	// ratio of a round: throughput of ours by the base's, or time likewise.
	ratios []float64
}

func (f *figure) add(ours, base float64) {
	f.ours, f.bases, f.ratios = append(f.ours, ours), append(f.bases, base), append(f.ratios, ours/base)
}

func (f *figure) print() {
	fmt.Printf("%s\n  ours  %s %s\n  %s  %s %s\n  ratio %s (goal: %s)\n",
		f.name, spread(f.ours), f.unit, f.base, spread(f.bases), f.unit, spread(f.ratios), f.goal)
}

// spread reads "median (least to most)".
func spread(values []float64) string {
	sorted := slices.Sorted(slices.Values(values))
	median := sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		median = (median + sorted[len(sorted)/2-1]) / 2
	}
	return fmt.Sprintf("%s (%s to %s)", short(median), short(sorted[0]), short(sorted[len(sorted)-1]))
}

func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// median of durations, in microseconds.
func micros(samples []time.Duration) float64 {
	slices.Sort(samples)
	return float64(samples[len(samples)/2].Nanoseconds()) / 1e3
}
