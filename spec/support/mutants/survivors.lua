-- survivors.lua - bugs by rule that no test finds, by their id, and why that is right.

return {
}
