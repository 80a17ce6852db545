package figures

import (
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	some := []time.Duration{5, 1, 4, 2, 3}
	for _, tt := range []struct {
		of   []time.Duration
		p    int
		want time.Duration
	}{
		{nil, 50, 0},
		{some[:1], 99, 5},
		{some, 50, 3},
		{some, 90, 5},
		{some, 20, 1},
		{some, 21, 2},
	} {
		if got := Percentile(tt.of, tt.p); got != tt.want {
			t.Errorf("percentile %d of %v: got %d, want %d", tt.p, tt.of, got, tt.want)
		}
	}
	if some[0] != 5 {
		t.Error("the durations were sorted in place")
	}
}

func TestTable(t *testing.T) {
	var told []string
	table := Table{Told: func(what, measured string) { told = append(told, what+"="+measured) }}
	table.Add("start", Seconds(1234*time.Millisecond), "≤ 2 s")
	table.Add("a request", Milliseconds(1250*time.Microsecond), "")
	table.Add("a pod", Milliseconds(87600*time.Microsecond), "")
	var out strings.Builder
	if err := table.Write(&out); err != nil {
		t.Fatal(err)
	}
	want := `WHAT        MEASURED   AIM
start       1.23 s     ≤ 2 s
a request   1.2 ms     
a pod       88 ms      
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	if got := strings.Join(told, " "); got != "start=1.23 s a request=1.2 ms a pod=88 ms" {
		t.Errorf("told: %s", got)
	}
}
