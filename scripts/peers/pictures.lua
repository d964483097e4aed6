-- pictures.lua - the README's pictures: what is measured for them, and gnuplot's commands that draw them as SVG, for light and dark pages.
local M = {}

-- gnuplot draws text and lines in this colour; in the file it becomes the page's.
local INK <const> = "#24292f"
-- By the first word of a curve's name, if it names none.
local COLOURS <const> = {Vigia = "#2f81f7", Redis = "#d29922", SQLite = "#3fb950", bare = "#a371f7"}
local STYLE <const> = "<style>g{color:inherit}svg{color:#24292f}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>"

local function figure(name, ...)
	return {figure = name, work = {...}}
end

local function work(name, engine, ...)
	local from = figure(name, ...)
	from.work.engine = engine
	return from
end

-- The pictures, each with its curves; a curve is a name and for each x a figure. `prepare` is run once before.
function M.series(scale)
	local function some(count, unit)
		unit = unit or 1
		return math.max(unit, math.floor(count * scale / unit + 0.5) * unit)
	end
	local series = {wanted = {}, prepare = {}, pictures = {}}
	local function picture(name, title, xlabel, ylabel, xs, curves)
		local one = {name = name, title = title, xlabel = xlabel, ylabel = ylabel, curves = {}}
		for i, curve in ipairs(curves) do
			one.curves[i] = {name = curve[1], colour = curve[3] or COLOURS[curve[1]:match("^%a+")], points = {}}
		end
		-- The engines in turn: what disturbs the machine for a while disturbs all of them.
		for k, x in ipairs(xs) do
			for i, curve in ipairs(curves) do
				local from = curve[2](x)
				one.curves[i].points[k] = {x, from}
				series.wanted[#series.wanted + 1] = from
			end
		end
		series.pictures[#series.pictures + 1] = one
	end

	local function each(callers)
		return math.max(1, some(16000) // callers)
	end
	picture("callers", "Durable appends a second, by callers at the same time", "callers", "events/s", {1, 2, 4, 8, 16, 32, 64}, {
		{"Vigia", function(callers)
			return work("rate", "vigia", "append", callers, callers == 1 and some(3000) or each(callers), 1, "commit", 0)
		end},
		{"Redis Streams, appendfsync always", function(callers) return work("rate", "redis", "append", callers, each(callers * 2), 1) end},
		{"SQLite, WAL, synchronous=FULL", function(callers) return work("rate", "sqlite", "append", callers, each(callers * 4), 1) end},
		{"bare LMDB", function(callers) return work("rate", "lmdb", "append", some(2000), 1, "commit", callers) end},
	})
	picture("latency", "From the call of a durable append to the handler of the last watcher, p50", "watchers that wait for the event",
		"microseconds", {1, 3, 10, 30, 100, 300}, {
		{"Vigia, all in one registry", function(count) return work("p50", "vigia", "wake", "commit", 1, count, some(500), "call") end},
		{"Redis Streams, XREAD BLOCK", function(count) return work("p50", "redis", "wake", count, some(200)) end},
		{"Vigia, a thread for each", function(count) return work("p50", "vigia", "wake", "commit", count, 1, some(500), "call") end, "#39c5cf"},
	})
	local sizes = {}
	for i, size in ipairs{100000, 300000, 1000000, 3000000, 10000000} do
		sizes[i] = some(size, 10000)
		for _, engine in ipairs{"vigia", "sqlite", "lmdb"} do
			table.insert(series.prepare, {engine = engine, "fill", engine .. "-" .. sizes[i] .. ".db", sizes[i]})
		end
	end
	picture("filter", "Reading the one event in 10,000 that a filter keeps", "events in the log", "milliseconds", sizes, {
		{"Vigia", function(size)
			return work("ms", "vigia", "replay", "vigia-" .. size .. ".db", size, "Scarce", size // 10000)
		end},
		{"SQLite, without an index by type", function(size)
			return work("ms", "sqlite", "scan", "sqlite-" .. size .. ".db", size // 10000, "Scarce")
		end},
		{"bare LMDB, a scan", function(size) return work("ms", "lmdb", "scan", "lmdb-" .. size .. ".db", size) end},
	})
	return series
end

local function text(word)
	return '"' .. word:gsub('["\\]', "\\%0") .. '"'
end

-- gnuplot's commands for a picture; value(figure) is its median.
local function commands_of(one, file, about, value)
	local lines = {
		"set terminal svg size 760,460 dynamic font 'system-ui,sans-serif,13' linewidth 1.2",
		"set output " .. text(file),
		("set border 3 lc rgb '%s'; set tics nomirror textcolor rgb '%s'; set grid lc rgb '#8c959f' lw 0.4"):format(INK, INK),
		("set title %s textcolor rgb '%s'"):format(text(one.title), INK),
		("set xlabel %s textcolor rgb '%s'; set ylabel %s textcolor rgb '%s'"):format(text(one.xlabel), INK, text(one.ylabel), INK),
		("set key top left Left reverse textcolor rgb '%s' samplen 2"):format(INK),
		"set logscale xy; set format x '%.0s%c'; set format y '%.0s%c'; set bmargin 6.8; set tmargin 2.5",
	}
	for i, line in ipairs(about) do
		lines[#lines + 1] = ("set label %d %s at screen 0.015, %.3f font ',9' textcolor rgb '%s' noenhanced"):format(i, text(line),
			0.025 + 0.035 * (#about - i), INK)
	end
	local ticks, least, most = {}, math.huge, 0
	for i, point in ipairs(one.curves[1].points) do ticks[i] = ("%d"):format(point[1]) end
	if one.curves[1].points[#ticks][1] < 1000 then lines[#lines + 1] = "set xtics (" .. table.concat(ticks, ", ") .. ")" end
	local plots = {}
	for i, curve in ipairs(one.curves) do
		lines[#lines + 1] = "$curve" .. i .. " << END"
		for _, point in ipairs(curve.points) do
			local y = value(point[2])
			least, most = math.min(least, y), math.max(most, y)
			lines[#lines + 1] = ("%d %.6g"):format(point[1], y)
		end
		lines[#lines + 1] = "END"
		plots[i] = ("$curve%d with linespoints lc rgb '%s' lw %s pt 7 ps 0.6 title %s"):format(i, curve.colour,
			curve.name:find("^Vigia") and 2.5 or 1.5, text(curve.name))
	end
	-- Room for the names above the curves.
	lines[#lines + 1] = ("set yrange [%g:%g]"):format(least / 1.6, most * (most / least) ^ 0.35 * 2)
	lines[#lines + 1] = "plot " .. table.concat(plots, ", ")
	return table.concat(lines, "\n") .. "\n"
end

function M.draw(series, folder, about, value)
	for _, one in ipairs(series.pictures) do
		local path = folder .. "/" .. one.name .. ".svg"
		local gnuplot = assert(io.popen("gnuplot", "w"))
		assert(gnuplot:write(commands_of(one, path, about, value)))
		assert(gnuplot:close(), "gnuplot failed")
		local file = assert(io.open(path))
		local svg = file:read("a")
		file:close()
		-- Its way of writing colours: 'rgb( 36,  41,  47)' in attributes.
		svg = svg:gsub("rgb%(%s*36,%s*41,%s*47%)", "currentColor"):gsub(INK, "currentColor")
		svg = svg:gsub("<svg.->", function(opening) return opening .. "\n" .. STYLE end, 1)
		file = assert(io.open(path, "w"))
		assert(file:write(svg))
		assert(file:close())
	end
end

return M
