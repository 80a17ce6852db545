// Package figures is how the benchmarks show what they have measured: a table of
// figures with the aims set for them, and durations as people read them.
package figures

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Table is what a benchmark prints in the end.
type Table struct {
	// Told, if set, hears of every figure at once: a run takes minutes.
	Told func(what, measured string)

	rows [][3]string
}

// Add adds a row; aim is "" where none is set.
func (t *Table) Add(what, measured, aim string) {
	t.rows = append(t.rows, [3]string{what, measured, aim})
	if t.Told != nil {
		t.Told(what, measured)
	}
}

// Write prints the rows in the order they came in.
func (t *Table) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "WHAT\tMEASURED\tAIM")
	for _, r := range t.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r[0], r[1], r[2])
	}
	return w.Flush()
}

// Seconds is a duration in seconds.
func Seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// Milliseconds is a duration in milliseconds, with a decimal where it matters.
func Milliseconds(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// Percentile of durations, by nearest rank; 0 of none.
func Percentile(d []time.Duration, p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[(len(sorted)*p+99)/100-1]
}
